package lifecycle_test

import (
	"context"
	"slices"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/internal/wire"
	"github.com/surecall/surecall/lifecycle"
	"github.com/surecall/surecall/limit"
)

// The priority of a call is that of its handler's context, and goes out with the calls
// that the handler makes, by whatever client.
func TestPriorityIsInherited(t *testing.T) {
	for _, test := range []struct {
		sent []string
		want limit.Priority
		out  []string
	}{
		{nil, limit.Normal, nil},
		{[]string{"critical"}, limit.Critical, []string{"critical"}},
		{[]string{"normal"}, limit.Normal, []string{"normal"}},
		{[]string{"critical", "sheddable"}, limit.Sheddable, []string{"sheddable"}},
		{[]string{"sheddable", "urgent"}, limit.Sheddable, []string{"sheddable"}},
		{[]string{"urgent", ""}, limit.Normal, nil},
	} {
		inBubble(t, nil, func(t *testing.T, r *rig) {
			calls := 0
			r.orders.get = func(ctx context.Context) error {
				calls++
				out, _ := metadata.FromOutgoingContext(ctx)
				if p := limit.FromContext(ctx); p != test.want || !slices.Equal(out[wire.Priority], test.out) {
					t.Errorf("sent %q: the handler has %v and passes on %q, want %v and %q", test.sent, p, out[wire.Priority], test.want, test.out)
				}
				return nil
			}
			r.orders.watch = func(s grpc.ServerStreamingServer[orders.Order]) error { return r.orders.get(s.Context()) }
			r.start()
			ctx := t.Context()
			for _, name := range test.sent {
				ctx = metadata.AppendToOutgoingContext(ctx, wire.Priority, name)
			}
			_, err := r.client.Get(ctx, &orders.GetRequest{})
			if err != nil {
				t.Error(err)
			}
			stream, err := r.client.Watch(ctx, &orders.GetRequest{})
			if err == nil {
				err = receive(stream)
			}
			if err != nil || calls != 2 {
				t.Errorf("%d calls, %v", calls, err)
			}
		})
	}
}

// It goes along with the chain-stop mark.
func TestPriorityAndChainStop(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		r.orders.get = func(ctx context.Context) error {
			out, _ := metadata.FromOutgoingContext(ctx)
			if !slices.Equal(out[wire.Priority], []string{"critical"}) || !slices.Equal(out[wire.Attempt], []string{"2"}) {
				t.Errorf("passes on %v", out)
			}
			return nil
		}
		r.start()
		if _, err := r.get(wire.Priority, "critical", wire.Attempt, "2"); err != nil {
			t.Error(err)
		}
	})
}

// A chain of three: the last one knows how much it matters to the first.
func TestPriorityThroughAChain(t *testing.T) {
	inChain(t, func(t *testing.T, front, back *rig) {
		var seen limit.Priority
		back.orders.get = func(ctx context.Context) error {
			seen = limit.FromContext(ctx)
			return nil
		}
		front.orders.get = func(ctx context.Context) error {
			_, err := back.client.Get(ctx, &orders.GetRequest{})
			return err
		}
		if _, err := front.get(wire.Priority, "sheddable"); err != nil || seen != limit.Sheddable {
			t.Errorf("the last one saw %v, %v", seen, err)
		}
	})
}

// inChain runs a test with two servers, of which the first may call the second.
func inChain(t *testing.T, test func(t *testing.T, front, back *rig)) {
	t.Helper()
	inBubble(t, nil, func(t *testing.T, front *rig) {
		back := newRig(t, func(_ *rig, c *lifecycle.Config) { c.Service, c.Address = "stock", "10.0.0.2:80" })
		defer func() {
			_ = back.conn.Close()
			_ = back.life.Stop(t.Context())
		}()
		front.start()
		back.start()
		test(t, front, back)
	})
}
