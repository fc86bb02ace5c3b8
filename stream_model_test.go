package surecall_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/retry"
)

// script is one random stream: what its caller does, and what each attempt of it meets.
type script struct {
	id       string
	items    []string
	pauses   []time.Duration // after each of them
	receives time.Duration   // when the receiver begins
	header   bool            // somebody asks for the header meanwhile
	attempts []part          // the last of them answers
}

// part is what one attempt does.
type part struct {
	reads  int           // messages, before
	header bool          // it sends its header
	delay  time.Duration // it waits
	kills  bool          // its instance dies
	says   int           // messages, if it is the one that answers
	early  bool          // it says the first of them before it has read all
}

func newScript(random *rand.Rand, id int, kills bool) *script {
	s := &script{id: fmt.Sprint(id), receives: some(random, 4), header: random.IntN(4) == 0}
	for n := range random.IntN(12) {
		size := 1 << random.IntN(14)
		s.items = append(s.items, fmt.Sprint(s.id, "/", n, strings.Repeat(".", size)))
		s.pauses = append(s.pauses, some(random, 3))
	}
	for range random.IntN(4) {
		s.attempts = append(s.attempts, part{
			reads: random.IntN(len(s.items) + 1), header: random.IntN(3) == 0,
			delay: some(random, 5), kills: kills && random.IntN(3) == 0,
		})
	}
	s.attempts = append(s.attempts, part{says: random.IntN(4), early: random.IntN(3) == 0, delay: some(random, 3)})
	return s
}

func some(random *rand.Rand, ms int) time.Duration {
	return time.Duration(random.IntN(ms)) * time.Millisecond
}

// play is the server's side of an attempt. One instance at most is down at any time: were
// there none, gRPC would wait for one under a mutex, and virtual time would stand still.
func (p part) play(h *heard, down *atomic.Bool) error {
	for range p.reads {
		if err := h.next(); err != nil {
			break // the caller sends less, or is gone
		}
	}
	if p.header {
		_ = h.stream.SendHeader(metadata.Pairs("k", "v"))
	}
	advance(p.delay)
	if p.kills && down.CompareAndSwap(false, true) {
		go func() {
			h.instance.Kill()
			advance(20 * time.Millisecond)
			h.instance.Start()
			advance(500 * time.Millisecond) // until it is connected to again
			down.Store(false)
		}()
		<-h.stream.Context().Done()
	}
	return errUnavailable
}

// answer is that of the last.
func (p part) answer(h *heard) error {
	advance(p.delay)
	says := p.says
	if p.early && says > 0 {
		if err := h.say(fmt.Sprint(says)); err != nil {
			return err
		}
		says--
	}
	if err := h.all(); err != nil {
		return err
	}
	for ; says > 0; says-- {
		if err := h.say(fmt.Sprint(says)); err != nil {
			return err
		}
	}
	return nil
}

// run is the caller's side. It returns what it received and how the stream ended.
func (s *script) run(t *testing.T, client grpc.ClientConnInterface) (got []string, end error) {
	ctx := metadata.AppendToOutgoingContext(t.Context(), "script", s.id)
	stream, err := client.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, talkMethod, grpc.WaitForReady(true))
	if err != nil {
		return nil, err
	}
	var others sync.WaitGroup
	others.Go(func() {
		var m orders.PlaceRequest
		for n, item := range s.items {
			m.Item = item
			if err := stream.SendMsg(&m); err != nil && err != io.EOF {
				t.Errorf("stream %s: message %d: %v", s.id, n, err)
				return
			} else if err != nil {
				return
			}
			m.Item = "changed by the caller"
			advance(s.pauses[n])
		}
		if err := stream.CloseSend(); err != nil {
			t.Errorf("stream %s: CloseSend: %v", s.id, err)
		}
	})
	if s.header {
		others.Go(func() { _, _ = stream.Header() })
	}
	advance(s.receives)
	for {
		var m orders.Order
		if end = stream.RecvMsg(&m); end != nil {
			break
		}
		got = append(got, m.GetId())
	}
	others.Wait()
	return got, end
}

// check holds what the caller got against what each attempt of its stream did.
func (s *script) check(t *testing.T, attempts []*heard, got []string, end error, kills bool) {
	last := attempts[len(attempts)-1]
	for n, h := range attempts {
		if len(h.items) > len(s.items) || !slices.Equal(h.items, s.items[:len(h.items)]) {
			t.Errorf("stream %s: attempt %d was sent %d messages that are not the first of the %d sent", s.id, n+1, len(h.items), len(s.items))
		}
	}
	switch {
	case end != io.EOF && (kills || s.headerSeen(len(attempts))):
		return // it died under another's kill, after its first message; or was committed by its header
	case end != io.EOF:
		t.Errorf("stream %s: ended with %v after %d attempts and %d messages", s.id, end, len(attempts), len(got))
		return
	}
	if !last.closed || len(last.items) != len(s.items) {
		t.Errorf("stream %s: the attempt that answered was sent %d of %d messages, closed %v", s.id, len(last.items), len(s.items), last.closed)
	}
	var want []string
	for n := s.attempts[len(s.attempts)-1].says; n > 0; n-- {
		want = append(want, fmt.Sprint(n))
	}
	if !slices.Equal(got, want) {
		t.Errorf("stream %s: received %v: want %v", s.id, got, want)
	}
}

// headerSeen reports whether the header of the last attempt that was made committed the
// stream.
func (s *script) headerSeen(attempts int) bool {
	return s.header && attempts < len(s.attempts) && s.attempts[attempts-1].header
}

// Whatever callers, instances and failures do in whatever order: every attempt is sent
// the first messages of its stream in order, the one that answers is sent all of them, and
// its answer is what the caller gets.
func replayModel(t *testing.T, seed uint64, n int, kills bool) {
	random := rand.New(rand.NewPCG(seed, 11))
	scripts := map[string]*script{}
	for id := range n {
		s := newScript(random, id, kills)
		scripts[s.id] = s
	}
	var down atomic.Bool
	var mu sync.Mutex
	attempts := map[string][]*heard{}
	cluster, _ := talkCluster(t, 5, func(h *heard) error {
		s := scripts[metadata.ValueFromIncomingContext(h.stream.Context(), "script")[0]]
		mu.Lock()
		attempts[s.id] = append(attempts[s.id], h)
		number := len(attempts[s.id])
		mu.Unlock()
		if number < len(s.attempts) {
			return s.attempts[number-1].play(h, &down)
		}
		return s.attempts[len(s.attempts)-1].answer(h)
	})
	client := ready(t, cluster, talkAgain, surecall.WithoutBreaker(), surecall.WithoutServiceBreaker(),
		surecall.WithReplayBuffer(1<<20), surecall.WithRetry(retry.Policy{MaxAttempts: 10}),
		surecall.WithRetryBudget(retry.BudgetPolicy{Ratio: 10, MinCapacity: 1e6}))
	type result struct {
		got []string
		end error
	}
	results := map[string]result{}
	var all sync.WaitGroup
	for _, s := range scripts {
		all.Go(func() {
			got, end := s.run(t, client)
			mu.Lock()
			defer mu.Unlock()
			results[s.id] = result{got, end}
		})
	}
	all.Wait()
	advance(time.Second) // instances that were killed are back
	if left := streams(client); left != 0 {
		t.Errorf("%d streams left", left)
	}
	mu.Lock()
	defer mu.Unlock()
	for id, s := range scripts {
		s.check(t, attempts[id], results[id].got, results[id].end, kills && n > 1)
	}
}

func TestReplayModel(t *testing.T) {
	for seed := range uint64(150) {
		bubble(t, func(t *testing.T) { replayModel(t, seed, 1, true) })
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// 64 callers at once, each with a sender and a receiver.
func TestReplayModelOfMany(t *testing.T) {
	for seed := range uint64(4) {
		bubble(t, func(t *testing.T) { replayModel(t, seed, 64, seed%2 == 1) })
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func FuzzReplay(f *testing.F) {
	f.Add(uint64(1), byte(1))
	f.Add(uint64(2), byte(7))
	f.Add(uint64(76), byte(5)) // a header came from an attempt that was not the last
	f.Fuzz(func(t *testing.T, seed uint64, n byte) {
		bubble(t, func(t *testing.T) { replayModel(t, seed, 1+int(n%8), n%2 == 0) })
	})
}
