package lifecycle_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/internal/wire"
	"github.com/surecall/surecall/lifecycle"
	"github.com/surecall/surecall/lifecycle/once"
)

// An ID belongs to the request that it came with first: another one got the reply to that,
// and its own order was dropped in silence.
func TestAnIDIsOfOneRequest(t *testing.T) {
	inBubble(t, guard(&once.Policy{}), func(t *testing.T, r *rig) {
		r.start()
		ctx := metadata.AppendToOutgoingContext(t.Context(), wire.CallID, "1")
		for _, item := range []string{"medicine", "a book", "medicine"} {
			o, err := r.client.Place(ctx, &orders.PlaceRequest{Item: item})
			if item == "medicine" {
				if err != nil || o.GetId() != "1" {
					t.Errorf("%v, %v", o, err)
				}
			} else if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "another request") {
				t.Errorf("another request: %v, %v", o, err)
			}
		}
		if n := r.orders.placed.Load(); n != 1 {
			t.Errorf("executed %d times", n)
		}
	})
}

type tenantKey struct{}

// What scope a call is of is asked behind the interceptors, and of two scopes nobody gets
// what is the other's.
func TestScope(t *testing.T) {
	authenticate := func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, h grpc.UnaryHandler) (any, error) {
		tenant := strings.Join(metadata.ValueFromIncomingContext(ctx, "token"), "")
		return h(context.WithValue(ctx, tenantKey{}, tenant), req)
	}
	policy := &once.Policy{Scope: func(ctx context.Context) string { return ctx.Value(tenantKey{}).(string) }}
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, guard(policy), grpc.ChainUnaryInterceptor(authenticate))
		r.start()
		var got []string
		for _, call := range [][2]string{{"alice", "1"}, {"bob", "1"}, {"alice", "1"}, {"bob", "1"}, {"", "1"}, {"a", "b/1"}, {"a/b", "1"}} {
			o, err := r.place(metadata.AppendToOutgoingContext(t.Context(), "token", call[0]), call[1])
			if err != nil {
				t.Error(err)
			}
			got = append(got, o.GetId())
		}
		if all := strings.Join(got, " "); all != "1 2 1 2 3 4 5" {
			t.Errorf("answered %s", all)
		}
		_ = r.conn.Close()
		_ = r.life.Stop(t.Context())
	})
}

// An interceptor can take the ID away: then it is a call as any other.
func TestInterceptorsTakeIDsAway(t *testing.T) {
	strip := func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, h grpc.UnaryHandler) (any, error) {
		md, _ := metadata.FromIncomingContext(ctx)
		md.Delete(wire.CallID)
		return h(metadata.NewIncomingContext(ctx, md), req)
	}
	store := newStore(t)
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, guard(&once.Policy{Store: store}), grpc.ChainUnaryInterceptor(strip))
		r.start()
		for range 2 {
			if _, err := r.place(t.Context(), "1"); err != nil {
				t.Error(err)
			}
		}
		if n := r.orders.placed.Load(); n != 2 || store.writes.Load() != 0 {
			t.Errorf("executed %d times, %d writes", n, store.writes.Load())
		}
		_ = r.conn.Close()
		_ = r.life.Stop(t.Context())
	})
}

// A call that is over by the time its record is written is not executed any more, and a
// repeat is.
func TestTooLateToExecute(t *testing.T) {
	store := &slowStore{breakable: newStore(t), takes: 500 * time.Millisecond}
	inBubble(t, guard(&once.Policy{Store: store}), func(t *testing.T, r *rig) {
		r.start()
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if _, err := r.place(ctx, "1"); status.Code(err) != codes.DeadlineExceeded {
			t.Errorf("%v", err)
		}
		time.Sleep(2 * time.Second)
		if n := r.orders.placed.Load(); n != 0 {
			t.Errorf("executed %d times, for nobody", n)
		}
		if o, err := r.place(t.Context(), "1"); err != nil || o.GetId() != "1" {
			t.Errorf("a repeat: %v, %v", o, err)
		}
	})
}

type slowStore struct {
	*breakable
	takes time.Duration
}

func (s *slowStore) Put(ctx context.Context, key string, version uint64, value []byte) (once.Record, bool, error) {
	time.Sleep(s.takes)
	return s.breakable.Put(ctx, key, version, value)
}

// A reply that the store refuses costs the reply alone: repeats are told at once that the
// call was executed, and not after a lease that nobody knows.
func TestRefusedReplies(t *testing.T) {
	store := &pickyStore{breakable: newStore(t), most: 1000}
	inBubble(t, guard(&once.Policy{Store: store}), func(t *testing.T, r *rig) {
		r.start()
		ctx := metadata.AppendToOutgoingContext(t.Context(), wire.CallID, "1")
		large := &orders.PlaceRequest{Item: strings.Repeat("x", 1000)}
		if _, err := r.client.Place(ctx, large); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if _, err := r.client.Place(ctx, large); status.Code(err) != codes.Aborted || !strings.Contains(err.Error(), "executed, but its answer could not be kept") {
			t.Errorf("a repeat: %v", err)
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("told after %v", took)
		}
	})
}

type pickyStore struct {
	*breakable
	most int
}

func (s *pickyStore) Put(ctx context.Context, key string, version uint64, value []byte) (once.Record, bool, error) {
	if len(value) > s.most {
		return once.Record{}, false, errors.New("value too large")
	}
	return s.breakable.Put(ctx, key, version, value)
}

// What a store says of its failures goes to the log, once a second, and not to callers.
func TestStoreErrorsAreForTheLog(t *testing.T) {
	var log bytes.Buffer
	store := newStore(t)
	inBubble(t, func(r *rig, c *lifecycle.Config) {
		guard(&once.Policy{Store: store})(r, c)
		c.Logger = slog.New(slog.NewTextHandler(&log, nil))
	}, func(t *testing.T, r *rig) {
		r.start()
		secret := errors.New("dial tcp 10.1.2.3:8500: refused")
		store.fail.Store(&secret)
		log.Reset()
		for range 100 { // in 2 s
			if _, err := r.place(t.Context(), "1"); status.Code(err) != codes.Unavailable || strings.Contains(err.Error(), "10.1.2.3") {
				t.Errorf("%v", err)
			}
			time.Sleep(20 * time.Millisecond)
		}
		if n := strings.Count(log.String(), "10.1.2.3"); n != 2 {
			t.Errorf("logged %d times:\n%s", n, log.String())
		}
	})
}
