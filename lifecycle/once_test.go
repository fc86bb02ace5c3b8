package lifecycle_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/internal/wire"
	"github.com/surecall/surecall/lifecycle"
	"github.com/surecall/surecall/lifecycle/once"
)

// guard has the rig execute by p, which may be changed before.
func guard(p *once.Policy) func(*rig, *lifecycle.Config) {
	return func(r *rig, _ *lifecycle.Config) {
		if p.Store == nil {
			p.Store = newStore(r.t)
		}
		r.once = p
	}
}

// place makes a call with an ID, or without one if it is empty.
func (r *rig) place(ctx context.Context, id string, opts ...grpc.CallOption) (*orders.Order, error) {
	ctx = metadata.AppendToOutgoingContext(ctx, wire.AttemptID, "a1")
	if id != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, wire.CallID, id)
	}
	return r.client.Place(ctx, &orders.PlaceRequest{Item: "pen"}, opts...)
}

// A repeat gets what the call got, and is not executed; a call without an ID, or with
// another, is.
func TestOnce(t *testing.T) {
	inBubble(t, guard(&once.Policy{}), func(t *testing.T, r *rig) {
		r.start()
		var answers []string
		for _, id := range []string{"1", "1", "2", "1", "", ""} {
			o, err := r.place(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			answers = append(answers, o.GetId()+o.GetItem())
		}
		if got := strings.Join(answers, " "); got != "1pen 1pen 2pen 1pen 3pen 4pen" {
			t.Errorf("answered %s", got)
		}
		// The same ID with another method is another call.
		ctx := metadata.AppendToOutgoingContext(t.Context(), wire.CallID, "1")
		if o, err := r.client.Get(ctx, &orders.GetRequest{Id: "x"}); err != nil || o.GetId() != "x" {
			t.Errorf("another method: %v, %v", o, err)
		}
	})
}

// What a handler returns is kept: errors of all codes, with their details.
func TestErrorsAreKept(t *testing.T) {
	detailed, err := status.New(codes.ResourceExhausted, "no more").WithDetails(durationpb.New(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		returns error
		code    codes.Code
		again   bool // executed for a repeat too
	}{
		"a status":             {detailed.Err(), codes.ResourceExhausted, false},
		"unavailable":          {status.Error(codes.Unavailable, "the database is away"), codes.Unavailable, false},
		"plain":                {errors.New("plain"), codes.Unknown, false},
		"its own cancellation": {context.Canceled, codes.Canceled, false},
		"not executed":         {lifecycle.NotExecuted(status.Error(codes.Unavailable, "away")), codes.Unavailable, true},
		"not executed, plain":  {lifecycle.NotExecuted(errors.New("away")), codes.Unknown, true},
		"not executed, joined": {errors.Join(lifecycle.NotExecuted(errors.New("a")), errors.New("b")), codes.Unknown, false},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, guard(&once.Policy{}), func(t *testing.T, r *rig) {
				r.orders.place = func(context.Context) error { return test.returns }
				r.start()
				var before *status.Status
				for n := range 3 {
					var trailer metadata.MD
					_, err := r.place(t.Context(), "1", grpc.Trailer(&trailer))
					s := status.Convert(err)
					if s.Code() != test.code || before != nil && s.Proto().String() != before.Proto().String() {
						t.Errorf("call %d: %v, want %v as before: %v", n, err, test.code, before)
					}
					before = s
					if marked := len(trailer[wire.Unexecuted]) > 0; marked != test.again {
						t.Errorf("call %d: marked as not executed: %v", n, marked)
					}
				}
				want := int64(1)
				if test.again {
					want = 3
				}
				if n := r.orders.placed.Load(); n != want {
					t.Errorf("executed %d times, want %d", n, want)
				}
			})
		})
	}
}

// The first caller goes while its call is executed. It is executed to its end, and the
// repeat that waits gets the answer.
func TestRepeatWaits(t *testing.T) {
	inBubble(t, guard(&once.Policy{}), func(t *testing.T, r *rig) {
		r.orders.place = func(ctx context.Context) error {
			select {
			case <-time.After(5 * time.Second):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		r.start()
		began := time.Now()
		first, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		time.AfterFunc(time.Second, cancel)
		if _, err := r.place(first, "1"); status.Code(err) != codes.Canceled {
			t.Errorf("the first: %v", err)
		}
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := r.place(short, "1"); status.Code(err) != codes.DeadlineExceeded {
			t.Errorf("a repeat in a hurry: %v", err)
		}
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() {
				if o, err := r.place(t.Context(), "1"); err != nil || o.GetId() != "1" {
					t.Errorf("a repeat: %v, %v", o, err)
				}
			})
		}
		all.Wait()
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("answered after %v, want 5s", took)
		}
		if n := r.orders.placed.Load(); n != 1 {
			t.Errorf("executed %d times", n)
		}
	})
}

// Whoever comes after a handler that was cut off is told that nobody knows.
func TestCutOff(t *testing.T) {
	for name, test := range map[string]struct {
		handler func(context.Context) error
		end     func(*testing.T, *rig)
	}{
		"by its deadline": {
			func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
			func(t *testing.T, r *rig) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				if _, err := r.place(ctx, "1"); status.Code(err) != codes.DeadlineExceeded {
					t.Errorf("the first: %v", err)
				}
				synctest.Wait()
			},
		},
		"by its server's end": {
			func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
			func(t *testing.T, r *rig) {
				go func() { _, _ = r.place(context.WithoutCancel(t.Context()), "1") }()
				synctest.Wait()
				if err := r.life.Stop(t.Context()); err != nil {
					t.Error(err)
				}
			},
		},
		"by a panic": {
			func(context.Context) error { panic("x") },
			func(t *testing.T, r *rig) { _, _ = r.place(t.Context(), "1") },
		},
	} {
		t.Run(name, func(t *testing.T) {
			policy := &once.Policy{}
			recovering := func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, h grpc.UnaryHandler) (_ any, err error) {
				defer func() {
					if recover() != nil {
						err = status.Error(codes.Internal, "panic")
					}
				}()
				return h(ctx, req)
			}
			synctest.Test(t, func(t *testing.T) {
				first, second := newRig(t, guard(policy), grpc.ChainUnaryInterceptor(recovering)), newRig(t, guard(policy))
				first.orders.place = test.handler
				first.start()
				second.start()
				test.end(t, first)
				if _, err := second.place(t.Context(), "1"); status.Code(err) != codes.Aborted || !strings.Contains(err.Error(), "outcome unknown") {
					t.Errorf("a repeat: %v, want ABORTED", err)
				}
				if n := second.orders.placed.Load(); n != 0 {
					t.Errorf("executed %d times more", n)
				}
				for _, r := range []*rig{first, second} {
					_ = r.conn.Close()
					_ = r.life.Stop(t.Context())
				}
			})
		})
	}
}

// IDs that are none, or too long to be one.
func TestCallIDs(t *testing.T) {
	store := newStore(t)
	inBubble(t, guard(&once.Policy{Store: store}), func(t *testing.T, r *rig) {
		r.start()
		for _, n := range []int{0, 1, 128, 129, 5000} {
			ctx := metadata.AppendToOutgoingContext(t.Context(), wire.CallID, "of a proxy", wire.CallID, strings.Repeat("x", n))
			_, err := r.client.Place(ctx, &orders.PlaceRequest{})
			if bad := n == 0 || n > 128; bad != (status.Code(err) == codes.InvalidArgument) {
				t.Errorf("of %d bytes: %v", n, err)
			}
		}
		if n := store.writes.Load(); n != 4 {
			t.Errorf("%d writes, want those of 2 calls", n)
		}
	})
}

// A reply that is too large is not kept, and its call not executed again.
func TestLargeReplies(t *testing.T) {
	inBubble(t, guard(&once.Policy{MaxReply: 1000}), func(t *testing.T, r *rig) {
		r.start()
		ctx := metadata.AppendToOutgoingContext(t.Context(), wire.CallID, "1")
		large := &orders.PlaceRequest{Item: strings.Repeat("x", 1000)}
		if _, err := r.client.Place(ctx, large); err != nil {
			t.Fatal(err)
		}
		if _, err := r.client.Place(ctx, large); status.Code(err) != codes.Aborted || !strings.Contains(err.Error(), "1000") {
			t.Errorf("a repeat: %v", err)
		}
		r.orders.place = func(context.Context) error { return errors.New(large.GetItem()) }
		ctx = metadata.AppendToOutgoingContext(t.Context(), wire.CallID, "2")
		for _, want := range []codes.Code{codes.Unknown, codes.Aborted} {
			if _, err := r.client.Place(ctx, large); status.Code(err) != want {
				t.Errorf("%v, want %v", err, want)
			}
		}
		if n := r.orders.placed.Load(); n != 2 {
			t.Errorf("executed %d times", n)
		}
	})
}

// The guard stands behind every interceptor, wherever that was installed: nobody gets a
// reply that is kept who would not have been let through to the handler.
func TestInterceptorsRunForRepeats(t *testing.T) {
	var passed atomic.Int64
	authenticate := func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, h grpc.UnaryHandler) (any, error) {
		if metadata.ValueFromIncomingContext(ctx, "token") == nil && metadata.ValueFromIncomingContext(ctx, wire.CallID) != nil {
			return nil, status.Error(codes.Unauthenticated, "who are you?")
		}
		passed.Add(1)
		return h(ctx, req)
	}
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, guard(&once.Policy{}), grpc.ChainUnaryInterceptor(authenticate))
		r.start()
		passed.Store(0)
		known := metadata.AppendToOutgoingContext(t.Context(), "token", "t")
		for _, ctx := range []context.Context{t.Context(), known, t.Context(), known} {
			_, err := r.place(ctx, "1")
			if want := map[bool]codes.Code{true: codes.OK, false: codes.Unauthenticated}[ctx == known]; status.Code(err) != want {
				t.Errorf("%v, want %v", err, want)
			}
		}
		if n := r.orders.placed.Load(); n != 1 || passed.Load() != 2 {
			t.Errorf("%d passed, executed %d times", passed.Load(), n)
		}
		_ = r.conn.Close()
		_ = r.life.Stop(t.Context())
	})
}

// What is wrong with a policy ends the start.
func TestOnceProblems(t *testing.T) {
	inBubble(t, func(r *rig, _ *lifecycle.Config) { r.once = &once.Policy{Lease: 1} }, func(t *testing.T, r *rig) {
		err := r.life.Start(t.Context(), r.server)
		for _, want := range []string{"Store is nil", "Lease 1ns"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%q is not in %v", want, err)
			}
		}
	})
}

// The server's own calls, which warm it up, have no ID: they are executed as they are.
func TestWarmUpIsExecuted(t *testing.T) {
	store := newStore(t)
	inBubble(t, func(r *rig, c *lifecycle.Config) {
		guard(&once.Policy{Store: store})(r, c)
		c.Steps = []lifecycle.Step{{Name: "replay", Run: func(ctx context.Context, conn *grpc.ClientConn) error {
			ctx = metadata.AppendToOutgoingContext(ctx, wire.Replay, "1")
			for range 2 {
				if _, err := orders.NewOrdersClient(conn).Place(ctx, &orders.PlaceRequest{}); err != nil {
					return err
				}
			}
			return nil
		}}}
	}, func(t *testing.T, r *rig) {
		r.start()
		if n := r.orders.placed.Load(); n != 2 || store.writes.Load() != 0 {
			t.Errorf("executed %d times, %d writes", n, store.writes.Load())
		}
	})
}
