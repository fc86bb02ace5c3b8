package surecall_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
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
	"github.com/surecall/surecall/surecalltest"
)

// What may have been executed is repeated only if the method is idempotent: the proto
// file says so, options add and remove, and the most specific pattern wins.
func TestRetryOfWhatMayHaveExecuted(t *testing.T) {
	options := func(o ...surecall.Option) []surecall.Option { return o }
	tests := []struct {
		name     string
		method   string
		options  []surecall.Option
		code     codes.Code
		attempts int // 2: the second succeeds
		why      []event.Denial
	}{
		{"no side effects", getMethod, nil, codes.Unavailable, 2, nil},
		{"idempotent", cancelMethod, nil, codes.Unavailable, 2, nil},
		{"neither", placeMethod, nil, codes.Unavailable, 1, []event.Denial{event.NotIdempotent}},
		{"declared", placeMethod, options(surecall.WithIdempotent(placeMethod)), codes.Unavailable, 2, nil},
		{"declared with a star", placeMethod, options(surecall.WithIdempotent("*")), codes.Unavailable, 2, nil},
		{"revoked", getMethod, options(surecall.WithNotIdempotent("/orders.v1.Orders/G*")), codes.Unavailable, 1,
			[]event.Denial{event.NotIdempotent}},
		{"most specific wins: declared", placeMethod,
			options(surecall.WithIdempotent(placeMethod), surecall.WithNotIdempotent("/orders.v1.Orders/*")), codes.Unavailable, 2, nil},
		{"most specific wins: revoked", placeMethod,
			options(surecall.WithNotIdempotent(placeMethod), surecall.WithIdempotent("/orders.v1.Orders/*")), codes.Unavailable, 1,
			[]event.Denial{event.NotIdempotent}},
		{"an exact name is more specific than its own beginning", getMethod,
			options(surecall.WithIdempotent(getMethod), surecall.WithNotIdempotent(getMethod+"*")), codes.Unavailable, 2, nil},
		{"the last of the same pattern", getMethod,
			options(surecall.WithNotIdempotent(getMethod), surecall.WithIdempotent(getMethod)), codes.Unavailable, 2, nil},
		{"no retry", getMethod, options(surecall.WithoutRetry()), codes.Unavailable, 1, nil},
		{"an answer", getMethod, nil, codes.NotFound, 1, nil},
		{"a code not listed", getMethod, nil, codes.Internal, 1, nil},
		{"a code listed", getMethod, options(surecall.WithRetry(retry.Policy{Codes: []codes.Code{codes.Internal}})), codes.Internal, 2, nil},
		{"listed for another method", getMethod,
			options(surecall.ForMethod(placeMethod, surecall.WithRetry(retry.Policy{Codes: []codes.Code{codes.Internal}}))), codes.Internal, 1, nil},
		{"no code at all", getMethod, options(surecall.WithRetry(retry.Policy{Codes: []codes.Code{}})), codes.Unavailable, 1, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				cluster, events := surecalltest.NewCluster(t, 3), &log{}
				client := ready(t, cluster, append(test.options, events.option())...)
				failFirst(cluster, 1, test.code)
				began := time.Now()
				_, err := unary(t.Context(), client, test.method)
				if want := test.attempts == 1; (err != nil) != want || want && status.Code(err) != test.code {
					t.Errorf("error %v after %d attempts", err, sum(reached(cluster)))
				}
				if calls := reached(cluster); sum(calls) != test.attempts || slices.Max(calls) > 1 {
					t.Errorf("attempts per instance %v: want %d, each on another", calls, test.attempts)
				}
				if took := time.Since(began); took != 0 {
					t.Errorf("took %v: want the first retry at once", took)
				}
				if why := denials(events); !slices.Equal(why, test.why) {
					t.Errorf("denied for %q: want %q", why, test.why)
				}
				if n := len(eventsOf[event.AttemptRetried](events)); n != test.attempts-1 {
					t.Errorf("%d AttemptRetried: want %d", n, test.attempts-1)
				}
			})
		})
	}
}

// While another instance is eligible, none gets the same call twice; with fewer
// instances than attempts the last resort is one that was tried, after a pause.
func TestRetryGoesElsewhere(t *testing.T) {
	for _, instances := range []int{1, 2, 3, 9} {
		bubble(t, func(t *testing.T) {
			cluster, events := surecalltest.NewCluster(t, instances), &log{}
			client := ready(t, cluster, events.option())
			failFirst(cluster, 3, codes.Unavailable)
			began := time.Now()
			_, err := unary(t.Context(), client, getMethod)
			if status.Code(err) != codes.Unavailable || err.Error() != status.Error(codes.Unavailable, "told to fail").Error() {
				t.Errorf("%d instances: error %v: want the server's, untouched", instances, err)
			}
			calls := reached(cluster)
			slices.Sort(calls)
			if most := (3 + instances - 1) / instances; sum(calls) != 3 || calls[len(calls)-1] != most {
				t.Errorf("%d instances: attempts per instance %v: want 3 in all and at most %d", instances, calls, most)
			}
			if took := time.Since(began); took == 0 || took > 75*time.Millisecond {
				t.Errorf("%d instances: took %v: want a pause of at most 25 ms or 50 ms before a later retry", instances, took)
			}
			if why := denials(events); !slices.Equal(why, []event.Denial{event.AttemptsSpent}) {
				t.Errorf("%d instances: denied for %q: want attempts spent", instances, why)
			}
		})
	}
}

// refusingCredentials fail the first calls before a stream is created.
type refusingCredentials struct{ left atomic.Int64 }

func (c *refusingCredentials) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	if c.left.Add(-1) >= 0 {
		return nil, status.Error(codes.Unavailable, "no token yet")
	}
	return nil, nil
}

func (*refusingCredentials) RequireTransportSecurity() bool { return false }

// An attempt for which no stream was created cannot have been executed: any method is
// retried, also below an attempt that is itself a retry, and no instance is blamed.
func TestRetryWithoutStream(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster, events := surecalltest.NewCluster(t, 2), &log{}
		client := ready(t, cluster, events.option())
		for range 20 {
			credentials := &refusingCredentials{}
			credentials.left.Store(1)
			if _, err := unary(belowRetry(t.Context()), client, placeMethod, grpc.PerRPCCredentials(credentials)); err != nil {
				t.Fatal(err)
			}
			advance(100 * time.Millisecond) // for the budget
		}
		if n := len(eventsOf[event.AttemptRetried](events)); n != 20 || sum(reached(cluster)) != 20 {
			t.Errorf("%d retries, %v reached the instances: want 20 and 20", n, reached(cluster))
		}
		if ejected := ejections(events); len(ejected) > 0 {
			t.Errorf("ejected %v: want nobody", ejected)
		}
	})
}

// marking is an orders server that refuses its first calls with the trailer that says
// that a call was not executed.
type marking struct {
	orders.UnimplementedOrdersServer
	refuse func(id string) (code codes.Code, mark []string, refuse bool)
	seen   func(metadata.MD)
}

func (s *marking) Place(ctx context.Context, _ *orders.PlaceRequest) (*orders.Order, error) {
	in, _ := metadata.FromIncomingContext(ctx)
	if s.seen != nil {
		s.seen(in)
	}
	id := ""
	if ids := in.Get("surecall-attempt-id"); len(ids) == 1 {
		id = ids[0]
	}
	code, mark, refuse := s.refuse(id)
	if !refuse {
		return &orders.Order{}, nil
	}
	if len(mark) > 0 {
		_ = grpc.SetTrailer(ctx, metadata.MD{"surecall-unexecuted": mark})
	}
	return nil, status.Error(code, "leaving")
}

func TestRetryOfWhatTheServerDidNotExecute(t *testing.T) {
	for _, test := range []struct {
		name      string
		code      codes.Code
		lifecycle bool
		mark      func(id string) []string
		retried   bool
	}{
		{"marked", codes.Unavailable, true, func(id string) []string { return []string{id} }, true},
		{"marked, overloaded", codes.ResourceExhausted, true, func(id string) []string { return []string{id} }, true},
		{"marked, another code", codes.Internal, true, func(id string) []string { return []string{id} }, false},
		{"another's mark", codes.Unavailable, true, func(id string) []string { return []string{id + "x"} }, false},
		{"several marks", codes.Unavailable, true, func(id string) []string { return []string{"x", id} }, false},
		{"no mark", codes.Unavailable, true, func(string) []string { return nil }, false},
		{"not of surecall's servers", codes.Unavailable, false, func(id string) []string { return []string{id} }, false},
		{"an empty mark for no ID", codes.Unavailable, false, func(string) []string { return []string{""} }, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				var calls atomic.Int64
				server := &marking{refuse: func(id string) (codes.Code, []string, bool) {
					if test.lifecycle != (id != "") {
						t.Errorf("attempt ID %q, instance of lifecycle: %v", id, test.lifecycle)
					}
					return test.code, test.mark(id), calls.Add(1) == 1
				}}
				cluster, events := surecalltest.NewClusterOf(t, 2, func(s grpc.ServiceRegistrar, _ *surecalltest.Instance) {
					orders.RegisterOrdersServer(s, server)
				}), &log{}
				if test.lifecycle {
					withLifecycle(cluster)
				}
				client := ready(t, cluster, events.option())
				_, err := unary(t.Context(), client, placeMethod)
				if retried := calls.Load() == 2; retried != test.retried || (err == nil) != test.retried {
					t.Errorf("%d attempts, error %v: want a retry: %v", calls.Load(), err, test.retried)
				}
				if calls := reached(cluster); slices.Max(calls) > 1 {
					t.Errorf("attempts per instance %v: want each on another", calls)
				}
			})
		})
	}
}

// The attempt after one that may have been executed says so to its handler, so that
// the handler's own calls do not multiply; one after a never-executed attempt does not.
func TestRetriedAttemptsCarryAMark(t *testing.T) {
	for _, executed := range []bool{true, false} {
		bubble(t, func(t *testing.T) {
			var marks [][]string
			server := &marking{
				seen: func(in metadata.MD) { marks = append(marks, in.Get("surecall-attempt")) },
				refuse: func(id string) (codes.Code, []string, bool) {
					if executed {
						id = "unknown"
					}
					return codes.Unavailable, []string{id}, len(marks) < 3
				},
			}
			cluster := surecalltest.NewClusterOf(t, 3, func(s grpc.ServiceRegistrar, _ *surecalltest.Instance) {
				orders.RegisterOrdersServer(s, server)
			})
			withLifecycle(cluster)
			client := ready(t, cluster, surecall.WithIdempotent(placeMethod))
			if _, err := unary(t.Context(), client, placeMethod); err != nil {
				t.Fatal(err)
			}
			want := [][]string{nil, {"2"}, {"3"}}
			if !executed {
				want = [][]string{nil, nil, nil}
			}
			if !slices.EqualFunc(marks, want, slices.Equal) {
				t.Errorf("executed %v: marks %v: want %v", executed, marks, want)
			}
		})
	}
}

// withLifecycle makes the instances those of surecall's own servers.
func withLifecycle(c *surecalltest.Cluster) {
	for _, i := range c.Instances() {
		i.Change(markLifecycle)
	}
}

// A call that an instance may have executed does not end as one that was never sent,
// whatever its last attempt met: who repeats a rejected call would have it executed twice.
func TestExecutedCallIsNotRejected(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 1)
		client := ready(t, cluster)
		cluster.Instance(0).KillAfter(1)
		var trace surecall.CallTrace
		_, err := unary(t.Context(), client, getMethod, surecall.Trace(&trace))
		var r *surecall.Rejection
		if status.Code(err) != codes.Unavailable || errors.As(err, &r) {
			t.Errorf("%v: want the end of the first attempt's connection", err)
		}
		if n := len(trace.Attempts); n < 2 || !trace.Attempts[0].Executed || trace.Attempts[n-1].Instance != "" {
			t.Errorf("attempts %+v: want one that was executed, and at last one that found nobody", trace.Attempts)
		}
	})
}

// A server that wants a call back in a day, or in a thousand years, gets it not at all.
func TestAbsurdPushback(t *testing.T) {
	for _, after := range []time.Duration{24 * time.Hour, 1<<63 - 1} {
		bubble(t, func(t *testing.T) {
			cluster := surecalltest.NewCluster(t, 3)
			client := ready(t, cluster)
			for range 30 {
				get(t, client)
			}
			for _, i := range cluster.Instances() {
				i.FailFunc(func(string, int64) error { return retryIn(codes.Unavailable, after) })
			}
			began := time.Now()
			_, err := unary(t.Context(), client, getMethod)
			if status.Code(err) != codes.Unavailable || time.Since(began) > time.Second {
				t.Errorf("%v after %v: want the server's error at once", err, time.Since(began))
			}
			stream, err := orders.NewOrdersClient(client).Watch(t.Context(), &orders.GetRequest{})
			if err == nil {
				_, err = stream.Recv()
			}
			if status.Code(err) != codes.Unavailable || time.Since(began) > time.Second {
				t.Errorf("stream: %v after %v: want the server's error at once", err, time.Since(began))
			}
		})
	}
}
