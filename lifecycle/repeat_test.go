package lifecycle_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/breaker"
	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/discovery/memory"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/internal/pipe"
	"github.com/surecall/surecall/internal/wire"
	"github.com/surecall/surecall/lifecycle"
	"github.com/surecall/surecall/lifecycle/once"
)

// Answers from what is kept are marked, whatever they say; first answers are not.
func TestRepeatsAreMarked(t *testing.T) {
	for name, returns := range map[string]error{
		"a reply": nil, "an error": status.Error(codes.Unavailable, "x"), "unknown": context.DeadlineExceeded,
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, guard(&once.Policy{}), func(t *testing.T, r *rig) {
				r.orders.place = func(ctx context.Context) error {
					if returns == context.DeadlineExceeded {
						<-ctx.Done()
					}
					return returns
				}
				r.start()
				for n, want := range []int{0, 1, 1} {
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					var trailer metadata.MD
					_, _ = r.place(ctx, "1", grpc.Trailer(&trailer))
					cancel()
					synctest.Wait()
					if mark := trailer[wire.Repeated]; len(mark) != want || want == 1 && mark[0] != "a1" {
						t.Errorf("answer %d: marked %q", n, mark)
					}
				}
			})
		})
	}
}

// One of three instances fails all that it executes. Once kept, such an error came from
// the others too, for repeats: retries earned nothing but that, two more were blamed for
// it, and the method "failed alike on most instances", so that the one which failed was
// never ejected: 152 of 400 calls failed.
func TestKeptErrorsBlameTheInstanceThatFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, err := once.NewMemory(once.MemoryPolicy{})
		if err != nil {
			t.Fatal(err)
		}
		registry, listeners := memory.New(), map[string]*pipe.Listener{}
		var lives []*lifecycle.Life
		var handlers []*handler
		for n := range 3 {
			address := fmt.Sprintf("10.0.0.%d:80", n+1)
			listeners[address] = pipe.Listen()
			h := &handler{}
			if n == 0 {
				h.place = func(context.Context) error { return status.Error(codes.Unavailable, "my disk is full") }
			}
			l := lifecycle.New(lifecycle.Config{
				Service: service, Listener: listeners[address], Address: address,
				Registrars: []discovery.Registrar{registry}, Logger: slog.New(slog.DiscardHandler),
			})
			server := grpc.NewServer(l.ServerOptions()...)
			orders.RegisterOrdersServer(l.Once(server, once.Policy{Store: store}), h)
			if err := l.Start(t.Context(), server); err != nil {
				t.Fatal(err)
			}
			lives, handlers = append(lives, l), append(handlers, h)
		}
		var ejected []string
		client, err := surecall.NewClient("memory:///"+service, surecall.WithInsecure(), surecall.WithSource(registry),
			surecall.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
				return listeners[address].DialContext(ctx)
			}),
			surecall.ForMethod(orders.Orders_Place_FullMethodName, surecall.WithCallID(), surecall.AsIdempotent()),
			surecall.WithEvents(func(e event.Event) {
				if e, ok := e.(event.InstanceChanged); ok && e.To == event.Ejected {
					ejected = append(ejected, e.Instance)
				}
			}))
		if err != nil {
			t.Fatal(err)
		}
		const calls = 2000
		failed, repeats := 0, 0
		for range calls {
			var trace surecall.CallTrace
			if _, err := orders.NewOrdersClient(client).Place(t.Context(), &orders.PlaceRequest{}, surecall.Trace(&trace)); err != nil {
				failed++
				if last := trace.Attempts[len(trace.Attempts)-1]; len(trace.Attempts) > 2 || len(trace.Attempts) == 2 && last.Verdict != breaker.Ignored {
					t.Errorf("attempts %+v: want none after the first repeat, and nobody blamed for that", trace.Attempts)
				}
				repeats += len(trace.Attempts) - 1
			}
			time.Sleep(20 * time.Millisecond)
		}
		if failed != int(handlers[0].placed.Load()) || failed > calls/20 || repeats == 0 {
			t.Errorf("%d of %d calls failed, %d by a repeat; the broken instance executed %d", failed, calls, repeats, handlers[0].placed.Load())
		}
		if len(ejected) == 0 {
			t.Error("it was never ejected")
		}
		for _, id := range ejected {
			if id != ejected[0] {
				t.Errorf("ejected %v", ejected)
			}
		}
		_ = client.Close()
		for _, l := range lives {
			_ = l.Stop(t.Context())
		}
	})
}
