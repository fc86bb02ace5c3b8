package replay

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall/internal/wire"
)

// Plan says how a script is played.
type Plan struct {
	PerMethod int           // calls
	Parallel  int           // calls at once
	Timeout   time.Duration // of a call
}

// Tally is what came of the calls of one method.
type Tally struct {
	Method  string
	Records int // different requests
	Calls   int // calls that ended
	Failed  int // of them, those that the server could not answer
	Err     error
}

// Play calls each method of the script as often as the plan says, the methods in turn
// and the requests of each in a circle. It returns when the last call has ended, or
// once ctx has: calls that ctx cut short are not counted.
func (s Script) Play(ctx context.Context, conn grpc.ClientConnInterface, p Plan) []Tally {
	show := &performance{conn: conn, lines: s.Lines, plan: p, tallies: make([]Tally, len(s.Lines))}
	for i, line := range s.Lines {
		show.tallies[i] = Tally{Method: line.Method, Records: len(line.Messages)}
	}
	ctx = metadata.AppendToOutgoingContext(ctx, wire.Replay, "1")
	var all sync.WaitGroup
	for range p.Parallel {
		all.Go(func() { show.work(ctx) })
	}
	all.Wait()
	return show.tallies
}

// performance is a script being played.
type performance struct {
	conn  grpc.ClientConnInterface
	lines []Line
	plan  Plan
	next  atomic.Int64 // the number of the next call

	mu      sync.Mutex
	tallies []Tally
}

func (p *performance) work(ctx context.Context) {
	total := int64(len(p.lines)) * int64(p.plan.PerMethod)
	for !over(ctx) {
		n := p.next.Add(1) - 1
		if n >= total {
			return
		}
		m, round := n%int64(len(p.lines)), n/int64(len(p.lines))
		line := p.lines[m]
		err := p.call(ctx, line.Method, line.Messages[round%int64(len(line.Messages))])
		if over(ctx) {
			return
		}
		p.count(int(m), err)
	}
}

// over reports whether ctx has ended, or is about to: the server sees the deadline too,
// and its word of it may come before ctx knows.
func over(ctx context.Context) bool {
	deadline, has := ctx.Deadline()
	return ctx.Err() != nil || has && !time.Now().Before(deadline)
}

func (p *performance) call(ctx context.Context, method string, message []byte) error {
	ctx, cancel := context.WithTimeout(ctx, p.plan.Timeout)
	defer cancel()
	return p.conn.Invoke(ctx, method, message, nil, grpc.ForceCodecV2(raw{}), grpc.WaitForReady(true))
}

func (p *performance) count(m int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := &p.tallies[m]
	t.Calls++
	if !answered(err) {
		t.Failed++
		t.Err = err
	}
}

// answered reports whether the server did its work: what was there when the request was
// recorded may be gone by now, and to find that out warms as well as finding it.
func answered(err error) bool {
	switch status.Code(err) {
	case codes.OK, codes.NotFound, codes.AlreadyExists, codes.FailedPrecondition, codes.OutOfRange:
		return true
	default:
		return false
	}
}

// raw is a codec that sends bytes as they are and passes over what is received. It
// has the name of the codec that the bytes are of.
type raw struct{}

func (raw) Name() string { return "proto" }

func (raw) Marshal(v any) (mem.BufferSlice, error) {
	message, ok := v.([]byte)
	if !ok {
		return nil, fmt.Errorf("replay: %T: want []byte", v)
	}
	return mem.BufferSlice{mem.SliceBuffer(message)}, nil
}

func (raw) Unmarshal(mem.BufferSlice, any) error { return nil }
