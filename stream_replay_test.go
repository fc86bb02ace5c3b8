package surecall_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/retry"
)

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
