package surecall_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/breaker"
	"github.com/surecall/surecall/examples/orders"
)

// told is what a caller asked to be told at the end of a stream.
type told struct {
	header, trailer metadata.MD
	peer            peer.Peer
	trace           surecall.CallTrace
	ends            []error
}

func (o *told) options() []grpc.CallOption {
	return []grpc.CallOption{
		grpc.Header(&o.header), grpc.Trailer(&o.trailer), grpc.Peer(&o.peer), surecall.Trace(&o.trace),
		grpc.OnFinish(func(err error) { o.ends = append(o.ends, err) }),
	}
}

// However many attempts a stream makes, its caller is told once, by the one that counts.
func TestStreamTellsOnce(t *testing.T) {
	for _, test := range []struct {
		name     string
		fails    int // attempts
		messages int
		end      error
		attempts int
	}{
		{"first attempt", 0, 2, nil, 1},
		{"second attempt", 1, 2, nil, 2},
		{"no message", 1, 0, nil, 2},
		{"all fail", 3, 0, errUnavailable, 3},
		{"an answer", 1, 0, status.Error(codes.NotFound, "no such talk"), 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				cluster, talks := talkCluster(t, 3, func(h *heard) error {
					number := fmt.Sprint(h.number)
					_ = h.stream.SendHeader(metadata.Pairs("number", number))
					h.stream.SetTrailer(metadata.Pairs("number", number))
					advance(time.Second)
					if h.number <= test.fails {
						return errUnavailable
					}
					for range test.messages {
						if err := h.say("1"); err != nil {
							return err
						}
					}
					return test.end
				})
				var o told
				stream := talk(t.Context(), t, ready(t, cluster, talkAgain), o.options()...)
				if err := send(stream, numbered(2), 0); err != nil {
					t.Fatal(err)
				}
				received := 0
				err := stream.RecvMsg(&orders.Order{})
				for ; err == nil; err = stream.RecvMsg(&orders.Order{}) {
					received++
				}
				number := []string{fmt.Sprint(test.attempts)}
				if !slices.Equal(o.header["number"], number) || !slices.Equal(o.trailer["number"], number) {
					t.Errorf("header %v, trailer %v: want those of attempt %v", o.header, o.trailer, number)
				}
				if o.peer.Addr == nil {
					t.Error("no peer")
				}
				if len(o.ends) != 1 || !errors.Is(o.ends[0], test.end) || received != test.messages {
					t.Errorf("OnFinish was told %v, after %d messages and %v: want %v, once", o.ends, received, err, test.end)
				}
				if !errors.Is(o.trace.Err, test.end) || o.trace.Method != talkMethod || o.trace.Took < time.Duration(test.attempts)*time.Second {
					t.Errorf("trace %+v", o.trace)
				}
				if len(o.trace.Attempts) != test.attempts {
					t.Fatalf("%d attempts traced: want %d", len(o.trace.Attempts), test.attempts)
				}
				for n, a := range o.trace.Attempts {
					end := test.end
					if n < test.fails {
						end = errUnavailable
					}
					if a.Number != n+1 || !a.Executed || a.Took != time.Second || !errors.Is(a.Err, end) ||
						(a.Verdict == breaker.Success) == (n < test.fails) || a.Instance != talks.heard()[n].instance.ID() {
						t.Errorf("attempt %d: %+v", n+1, a)
					}
				}
			})
		})
	}
}

// A caller that leaves a stream, and never asks how it ended, is told nevertheless.
func TestStreamTellsWhoHasLeft(t *testing.T) {
	for _, talks := range []bool{false, true} {
		bubble(t, func(t *testing.T) {
			cluster, _ := talkCluster(t, 2, func(h *heard) error {
				if talks {
					_ = h.say("1")
				}
				<-h.stream.Context().Done()
				return nil
			})
			client := ready(t, cluster, talkAgain)
			var o told
			ctx, cancel := context.WithCancel(t.Context())
			stream := talk(ctx, t, client, o.options()...)
			if talks {
				if err := stream.RecvMsg(&orders.Order{}); err != nil {
					t.Fatal(err)
				}
			}
			cancel()
			synctest.Wait()
			if len(o.ends) != 1 || status.Code(o.ends[0]) != codes.Canceled || len(o.trace.Attempts) != 1 {
				t.Errorf("told %v, trace %+v: want CANCELED", o.ends, o.trace)
			}
			var closed told
			talk(t.Context(), t, client, closed.options()...)
			if err := client.Close(); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if len(closed.ends) != 1 || status.Code(closed.ends[0]) != codes.Canceled {
				t.Errorf("told %v when the client was closed: want CANCELED", closed.ends)
			}
		})
	}
}

// A stream that could not be opened has ended too.
func TestStreamTellsThatItWasNotOpened(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster, _ := talkCluster(t, 3, func(*heard) error { return nil })
		client := ready(t, cluster)
		credentials := &refusingCredentials{}
		credentials.left.Store(100)
		var o told
		_, err := client.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true}, talkMethod, append(o.options(), grpc.PerRPCCredentials(credentials))...)
		if status.Code(err) != codes.Unavailable || len(o.ends) != 1 || !errors.Is(o.ends[0], err) {
			t.Errorf("error %v, told %v: want UNAVAILABLE, once", err, o.ends)
		}
		if len(o.trace.Attempts) != 3 || o.trace.Attempts[2].Executed || o.trace.Err == nil {
			t.Errorf("trace %+v: want three attempts that were not executed", o.trace)
		}
	})
}
