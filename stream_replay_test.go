package surecall_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/retry"
	"github.com/surecall/surecall/surecalltest"
)

const talkMethod = "/test.Talk/Talk"

// talks is what all attempts of streams have received, in the order in which they began.
type talks struct {
	mu       sync.Mutex
	attempts []*heard
}

// heard returns the attempts, once all that can happen has happened.
func (t *talks) heard() []*heard {
	synctest.Wait()
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.attempts)
}

// heard is what one attempt has received.
type heard struct {
	instance *surecalltest.Instance
	number   int // of the attempt among all, from 1
	items    []string
	closed   bool // the caller closed its side
	repeated bool // it was marked as following one that may have been executed
	stream   grpc.ServerStream
}

func (h *heard) next() error {
	var m orders.PlaceRequest
	err := h.stream.RecvMsg(&m)
	if err == nil {
		h.items = append(h.items, m.GetItem())
	}
	h.closed = h.closed || err == io.EOF
	return err
}

// all receives until the caller closes.
func (h *heard) all() error {
	for {
		if err := h.next(); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

func (h *heard) say(id string) error {
	return h.stream.SendMsg(&orders.Order{Id: id, ServedBy: h.instance.ID()})
}

// talkCluster serves one method of streams in both directions, each attempt by handle.
func talkCluster(t *testing.T, n int, handle func(*heard) error) (*surecalltest.Cluster, *talks) {
	t.Helper()
	all := &talks{}
	return surecalltest.NewClusterOf(t, n, func(s grpc.ServiceRegistrar, i *surecalltest.Instance) {
		s.RegisterService(&grpc.ServiceDesc{ServiceName: "test.Talk", HandlerType: (*any)(nil), Streams: []grpc.StreamDesc{{
			StreamName: "Talk", ServerStreams: true, ClientStreams: true,
			Handler: func(_ any, stream grpc.ServerStream) error {
				h := &heard{instance: i, stream: stream}
				h.repeated = len(metadata.ValueFromIncomingContext(stream.Context(), "surecall-attempt")) > 0
				all.mu.Lock()
				all.attempts = append(all.attempts, h)
				h.number = len(all.attempts)
				all.mu.Unlock()
				return handle(h)
			},
		}}}, nil)
	}), all
}

// talk opens a stream of it.
func talk(ctx context.Context, t *testing.T, cc grpc.ClientConnInterface, opts ...grpc.CallOption) grpc.ClientStream {
	t.Helper()
	stream, err := cc.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, talkMethod, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

// upload opens one that streams to the server only.
func upload(ctx context.Context, t *testing.T, cc grpc.ClientConnInterface, opts ...grpc.CallOption) grpc.ClientStream {
	t.Helper()
	stream, err := cc.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true}, talkMethod, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

var (
	talkAgain      = surecall.WithIdempotent(talkMethod)
	errUnavailable = status.Error(codes.Unavailable, "told to fail")
)

// numbered are the items 0, 1, … n-1.
func numbered(n int) []string {
	items := make([]string, n)
	for i := range items {
		items[i] = fmt.Sprint(i)
	}
	return items
}

// send sends items, all in the same message.
func send(stream grpc.ClientStream, items []string, pause time.Duration) error {
	var m orders.PlaceRequest
	for _, item := range items {
		m.Item = item
		if err := stream.SendMsg(&m); err != nil {
			return err
		}
		m.Item = "changed by the caller"
		advance(pause)
	}
	return nil
}

// A stream that fails before its first message goes on on another instance, which is sent
// all that was sent, in order; whoever meets the failure first, the sender between two
// messages or the receiver after the last.
func TestStreamIsReplayed(t *testing.T) {
	for _, test := range []struct {
		name  string
		pause time.Duration
		read  int // by each attempt that fails
		fails int
	}{
		{"sender first", time.Millisecond, 4, 1},
		{"sender first, twice", time.Millisecond, 4, 2},
		{"receiver first", 0, 10, 2},
		{"nothing was read", 0, 0, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				cluster, talks := talkCluster(t, 3, func(h *heard) error {
					for range test.read {
						if err := h.next(); err != nil {
							return err
						}
					}
					if h.number <= test.fails {
						return errUnavailable
					}
					if err := h.all(); err != nil {
						return err
					}
					return h.say("done")
				})
				client := ready(t, cluster, talkAgain)
				items := numbered(10)
				stream := upload(t.Context(), t, client)
				if err := send(stream, items, test.pause); err != nil {
					t.Fatal(err)
				}
				if err := stream.CloseSend(); err != nil {
					t.Fatal(err)
				}
				var reply orders.Order
				if err := stream.RecvMsg(&reply); err != nil || reply.GetId() != "done" {
					t.Fatalf("reply %v, error %v", &reply, err)
				}
				if len(talks.heard()) != test.fails+1 {
					t.Fatalf("%d attempts: want %d", len(talks.heard()), test.fails+1)
				}
				for n, h := range talks.heard() {
					for _, other := range talks.heard()[:n] {
						if h.instance == other.instance {
							t.Errorf("attempts on %s twice", h.instance.ID())
						}
					}
					if h.repeated != (n > 0) {
						t.Errorf("attempt %d is marked as one that follows: %v", n+1, h.repeated)
					}
				}
				if last := talks.heard()[test.fails]; !slices.Equal(last.items, items) || !last.closed || last.instance.ID() != reply.GetServedBy() {
					t.Errorf("%s, which answered, was sent %v, closed %v: want %v of %s", last.instance.ID(), last.items, last.closed, items, reply.GetServedBy())
				}
			})
		})
	}
}

// An instance that dies takes no stream with it that has not answered yet.
func TestStreamSurvivesKill(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster, talks := talkCluster(t, 3, func(h *heard) error {
			if err := h.all(); err != nil {
				return err
			}
			return h.say("done")
		})
		client := ready(t, cluster, talkAgain)
		stream := talk(t.Context(), t, client)
		items := numbered(6)
		if err := send(stream, items[:3], time.Millisecond); err != nil {
			t.Fatal(err)
		}
		talks.heard()[0].instance.Kill()
		advance(10 * time.Millisecond)
		if err := send(stream, items[3:], time.Millisecond); err != nil {
			t.Fatal(err)
		}
		_ = stream.CloseSend()
		var reply orders.Order
		if err := stream.RecvMsg(&reply); err != nil || !slices.Equal(talks.heard()[1].items, items) {
			t.Fatalf("error %v, sent %v: want %v", err, talks.heard()[1].items, items)
		}
		if err := stream.RecvMsg(&reply); err != io.EOF {
			t.Errorf("at the end %v: want io.EOF", err)
		}
		if err := stream.RecvMsg(&reply); err == nil {
			t.Error("a message after the end")
		}
	})
}

// What cannot be sent again is not retried; the error is the instance's.
func TestStreamIsNotReplayed(t *testing.T) {
	big := []string{strings.Repeat("x", 40), strings.Repeat("y", 40)}
	idempotent := talkAgain
	for _, test := range []struct {
		name  string
		opts  []surecall.Option
		ctx   func(context.Context) context.Context
		items []string
		why   []event.Denial
	}{
		{"over the bound", []surecall.Option{idempotent, surecall.WithReplayBuffer(60)}, nil, big, []event.Denial{event.NotKept}},
		{"within the bound", []surecall.Option{idempotent, surecall.WithReplayBuffer(120)}, nil, big, []event.Denial{event.AttemptsSpent}},
		{"nothing kept", []surecall.Option{idempotent, surecall.WithoutReplayBuffer()}, nil, big, []event.Denial{event.NotKept}},
		{"nothing kept, nothing sent", []surecall.Option{idempotent, surecall.WithoutReplayBuffer()}, nil, nil, []event.Denial{event.AttemptsSpent}},
		{"not idempotent", nil, nil, big, []event.Denial{event.NotIdempotent}},
		{"not idempotent, nothing sent", nil, nil, nil, []event.Denial{event.NotIdempotent}},
		{"without retry", []surecall.Option{idempotent, surecall.WithoutRetry()}, nil, big, nil},
		{"below a retry", []surecall.Option{idempotent}, belowRetry, big, []event.Denial{event.ChainStop}},
		{"no budget", []surecall.Option{idempotent, surecall.WithRetryBudget(retry.BudgetPolicy{Ratio: 1e-9, PerSecond: 1e-9, MinCapacity: 1})}, nil, big, []event.Denial{event.BudgetEmpty}},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				cluster, talks := talkCluster(t, 4, func(h *heard) error {
					_ = h.next()
					return errUnavailable
				})
				events := &log{}
				client := ready(t, cluster, append(test.opts, events.option())...)
				ctx := t.Context()
				if test.ctx != nil {
					ctx = test.ctx(ctx)
				}
				stream := talk(ctx, t, client)
				err := send(stream, test.items, 0)
				if err != nil && err != io.EOF {
					t.Fatal(err)
				}
				_ = stream.CloseSend()
				if err := stream.RecvMsg(&orders.Order{}); status.Code(err) != codes.Unavailable || status.Convert(err).Message() != "told to fail" {
					t.Errorf("error %v: want the instance's", err)
				}
				if why := denials(events); !slices.Equal(why, test.why) {
					t.Errorf("denials %v after %d attempts: want %v", why, len(talks.heard()), test.why)
				}
				retried := len(eventsOf[event.AttemptRetried](events))
				if len(talks.heard()) != retried+1 {
					t.Errorf("%d attempts and %d retries", len(talks.heard()), retried)
				}
			})
		})
	}
}

// Once the caller has seen anything of a stream, its end is the caller's.
func TestStreamIsCommitted(t *testing.T) {
	for _, test := range []struct {
		name      string
		serve     func(*heard) error
		see       func(*testing.T, grpc.ClientStream)
		committed bool
	}{
		{"message", func(h *heard) error { return h.say("1") }, func(t *testing.T, s grpc.ClientStream) {
			if err := s.RecvMsg(&orders.Order{}); err != nil {
				t.Fatal(err)
			}
		}, true},
		{"header", func(h *heard) error { return h.stream.SendHeader(metadata.Pairs("k", "v")) }, func(t *testing.T, s grpc.ClientStream) {
			if header, err := s.Header(); err != nil || len(header["k"]) != 1 {
				t.Fatalf("header %v, error %v", header, err)
			}
		}, true},
		{"header that nobody asked for", func(h *heard) error { return h.stream.SendHeader(metadata.Pairs("k", "v")) }, func(*testing.T, grpc.ClientStream) {}, false},
		{"context", func(*heard) error { return nil }, func(_ *testing.T, s grpc.ClientStream) { s.Context() }, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				cluster, talks := talkCluster(t, 3, func(h *heard) error {
					if h.number > 1 {
						return nil
					}
					if err := test.serve(h); err != nil {
						return err
					}
					advance(time.Second)
					return errUnavailable
				})
				stream := talk(t.Context(), t, ready(t, cluster, talkAgain))
				if err := send(stream, numbered(1), 0); err != nil {
					t.Fatal(err)
				}
				test.see(t, stream)
				err, want := stream.RecvMsg(&orders.Order{}), io.EOF
				if test.committed {
					want = errUnavailable
				}
				if !errors.Is(err, want) || len(talks.heard()) == 1 != test.committed {
					t.Errorf("error %v after %d attempts: want %v", err, len(talks.heard()), want)
				}
			})
		})
	}
}

// Header meets the failure first, and returns that of the attempt that counts, as do
// Trailer and Context.
func TestStreamHeaderMeetsTheFailure(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster, talks := talkCluster(t, 3, func(h *heard) error {
			h.stream.SetTrailer(metadata.Pairs("number", fmt.Sprint(h.number)))
			if h.number == 1 {
				return errUnavailable
			}
			_ = h.stream.SendHeader(metadata.Pairs("number", fmt.Sprint(h.number)))
			return h.all()
		})
		stream := talk(t.Context(), t, ready(t, cluster, talkAgain))
		if err := send(stream, numbered(3), 0); err != nil {
			t.Fatal(err)
		}
		header, err := stream.Header()
		if err != nil || !slices.Equal(header["number"], []string{"2"}) {
			t.Fatalf("header %v, error %v: want that of the second attempt", header, err)
		}
		if surecall.Leaving(stream.Context()) == nil {
			t.Error("the context is not that of a stream that goes on")
		}
		_ = stream.CloseSend()
		if err := stream.RecvMsg(&orders.Order{}); err != io.EOF {
			t.Fatalf("error %v: want io.EOF", err)
		}
		if trailer := stream.Trailer(); !slices.Equal(trailer["number"], []string{"2"}) || !slices.Equal(talks.heard()[1].items, numbered(3)) {
			t.Errorf("trailer %v after %v: want that of the second attempt, sent all", trailer, talks.heard()[1].items)
		}
	})
}

// A server may answer before it has read all. Who sends is told by io.EOF, which says
// nothing of why; the answer is there for RecvMsg, and no other attempt is made.
func TestStreamIsAnsweredEarly(t *testing.T) {
	own := grpc.CallContentSubtype("proto") // a codec of the caller's: no message can be peeked at
	for _, test := range []struct {
		empty bool
		opts  []grpc.CallOption
	}{{false, nil}, {true, nil}, {false, []grpc.CallOption{own}}} {
		bubble(t, func(t *testing.T) {
			empty := test.empty
			cluster, talks := talkCluster(t, 2, func(h *heard) error {
				if empty {
					return h.stream.SendMsg(&orders.Order{})
				}
				return h.say("enough")
			})
			client := ready(t, cluster, talkAgain)
			for _, open := range []func(context.Context, *testing.T, grpc.ClientConnInterface, ...grpc.CallOption) grpc.ClientStream{talk, upload} {
				stream, before := open(t.Context(), t, client, test.opts...), len(talks.heard())
				if err := send(stream, numbered(5), time.Millisecond); err != io.EOF {
					t.Fatalf("error %v of sending: want io.EOF", err)
				}
				_ = stream.CloseSend()
				var reply orders.Order
				if err := stream.RecvMsg(&reply); err != nil || (reply.GetId() == "enough") == empty {
					t.Fatalf("reply %v, error %v", &reply, err)
				}
				if err := stream.RecvMsg(&reply); err != io.EOF {
					t.Errorf("then %v: want io.EOF", err)
				}
				if n := len(talks.heard()) - before; n > 1 {
					t.Errorf("%d attempts: want one", n)
				}
			}
			synctest.Wait()
			if n := streams(client); n != 0 {
				t.Errorf("%d streams left", n)
			}
		})
	}
}

// Who answers while it is sent the rest of a long replay does not stop it for good: the
// caller receives meanwhile.
func TestStreamIsReplayedWhileItAnswers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster, talks := talkCluster(t, 2, func(h *heard) error {
			if h.number == 1 {
				advance(time.Second)
				return errUnavailable
			}
			for {
				if err := h.next(); err == io.EOF {
					return nil
				} else if err != nil {
					return err
				}
				if err := h.say(h.items[len(h.items)-1]); err != nil {
					return err
				}
			}
		})
		client := ready(t, cluster, talkAgain, surecall.WithReplayBuffer(4<<20))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		stream := talk(ctx, t, client)
		var items []string
		for n := range 60 {
			items = append(items, fmt.Sprint(n, strings.Repeat(".", 16<<10)))
		}
		var sender sync.WaitGroup
		sender.Go(func() {
			if err := send(stream, items, 0); err != nil {
				t.Error(err)
			}
			_ = stream.CloseSend()
		})
		var got []string
		for {
			var m orders.Order
			err := stream.RecvMsg(&m)
			if err == io.EOF {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			got = append(got, m.GetId())
		}
		sender.Wait()
		if !slices.Equal(got, items) || len(talks.heard()) != 2 {
			t.Errorf("%d messages of %d, %d attempts", len(got), len(items), len(talks.heard()))
		}
	})
}

// What is not a protocol buffer cannot be kept.
func TestStreamOfOtherMessages(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster, talks := talkCluster(t, 3, func(h *heard) error {
			_ = h.next()
			return errUnavailable
		})
		stream := talk(t.Context(), t, ready(t, cluster, talkAgain), grpc.ForceCodecV2(rawCodec{}))
		raw := []byte("\x0a\x03tea")
		if err := stream.SendMsg(&raw); err != nil {
			t.Fatal(err)
		}
		if err := stream.RecvMsg(&raw); status.Code(err) != codes.Unavailable || len(talks.heard()) != 1 {
			t.Errorf("error %v after %d attempts: want UNAVAILABLE after one", err, len(talks.heard()))
		}
	})
}

// rawCodec has messages that are bytes.
type rawCodec struct{}

var _ encoding.CodecV2 = rawCodec{}

func (rawCodec) Name() string { return "proto" }

func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(*v.(*[]byte))}, nil
}

func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	raw, ok := v.(*[]byte)
	if !ok {
		return fmt.Errorf("%T is no bytes", v)
	}
	*raw = data.Materialize()
	return nil
}

// A client stream that a server refused unexecuted is opened again with what was sent,
// whatever the method, and without being marked as a repetition.
func TestRefusedClientStreamIsReplayed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster, talks := talkCluster(t, 3, func(h *heard) error {
			if h.number == 1 {
				id := metadata.ValueFromIncomingContext(h.stream.Context(), "surecall-attempt-id")
				h.stream.SetTrailer(metadata.MD{"surecall-unexecuted": id})
				return errUnavailable
			}
			if err := h.all(); err != nil {
				return err
			}
			return h.say("done")
		})
		for _, i := range cluster.Instances() {
			i.Change(markLifecycle)
		}
		stream := upload(t.Context(), t, ready(t, cluster))
		if err := send(stream, numbered(5), time.Millisecond); err != nil {
			t.Fatal(err)
		}
		_ = stream.CloseSend()
		var reply orders.Order
		if err := stream.RecvMsg(&reply); err != nil {
			t.Fatal(err)
		}
		if h := talks.heard()[1]; !slices.Equal(h.items, numbered(5)) || h.repeated {
			t.Errorf("sent %v, marked %v: want all, and no mark", h.items, h.repeated)
		}
	})
}

// What gRPC allows by mistake ends in errors, and nothing is left behind.
func TestStreamMisuse(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster, _ := talkCluster(t, 2, func(h *heard) error { return h.all() })
		client := ready(t, cluster, talkAgain)
		stream := talk(t.Context(), t, client)
		_ = stream.CloseSend()
		_ = stream.CloseSend()
		if err := stream.SendMsg(&orders.PlaceRequest{}); status.Code(err) != codes.Internal {
			t.Errorf("a message after CloseSend: %v: want INTERNAL", err)
		}
		for range 3 {
			if err := stream.RecvMsg(&orders.Order{}); err == nil {
				t.Error("a message after the end")
			}
		}
		_, _ = stream.Header()
		stream.Trailer()

		for _, wrong := range []any{nil, 7, (*orders.PlaceRequest)(nil), "text"} {
			ctx, cancel := context.WithCancel(t.Context())
			stream := talk(ctx, t, client)
			_ = stream.SendMsg(wrong)
			_ = stream.CloseSend()
			_ = stream.RecvMsg(&orders.Order{})
			cancel()
		}
		var left atomic.Int32
		for range 20 { // left by the caller, in the middle of everything
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			stream := talk(ctx, t, client)
			_ = send(stream, numbered(3), 0)
			go func() {
				defer left.Add(1)
				_ = stream.RecvMsg(&orders.Order{})
			}()
			if left.Load()%2 == 0 {
				cancel()
			}
			advance(2 * time.Millisecond)
			cancel()
		}
		synctest.Wait()
		if n := streams(client); n != 0 || left.Load() != 20 {
			t.Errorf("%d streams left, %d of 20 receivers returned", n, left.Load())
		}
	})
}

func TestReplayBufferBound(t *testing.T) {
	for _, bytes := range []int{0, -1} {
		_, err := surecall.NewClient("static:///a:1", surecall.WithInsecure(), surecall.WithReplayBuffer(bytes))
		if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("WithReplayBuffer %d: want more than 0 bytes", bytes)) {
			t.Errorf("%d bytes: %v", bytes, err)
		}
	}
}
