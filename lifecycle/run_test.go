package lifecycle_test

import (
	"context"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall/lifecycle"
)

func TestRun(t *testing.T) {
	for _, end := range []string{"signal", "context", "Stop", "Drain and signal"} {
		t.Run(end, func(t *testing.T) {
			inBubble(t, nil, func(t *testing.T, r *rig) {
				signals := make(chan os.Signal, 1)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				ran := make(chan error, 1)
				go func() { ran <- r.life.RunWith(ctx, r.server, signals, nil) }()
				synctest.Wait()
				release := r.holds()
				call := r.goGet()
				began := time.Now()
				switch end {
				case "signal":
					signals <- syscall.SIGTERM
				case "context":
					cancel()
				case "Stop":
					go func() { _ = r.life.Stop(t.Context()) }()
				case "Drain and signal":
					r.drain()
					signals <- syscall.SIGTERM
				}
				time.Sleep(5 * time.Second)
				release()
				if err := <-ran; err != nil {
					t.Error(err)
				}
				if took := time.Since(began); took != 5*time.Second {
					t.Errorf("took %v: want the call's 5 s", took)
				}
				if err := <-call; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// What never was online has nothing to wait for.
func TestSignalWhileWarmingUp(t *testing.T) {
	inBubble(t, func(_ *rig, c *lifecycle.Config) {
		c.Steps = []lifecycle.Step{{Name: "cache", Run: wait}}
	}, func(t *testing.T, r *rig) {
		signals, ran := make(chan os.Signal, 1), make(chan error, 1)
		go func() { ran <- r.life.RunWith(t.Context(), r.server, signals, nil) }()
		synctest.Wait()
		began := time.Now()
		signals <- os.Interrupt
		if err := <-ran; err != nil || time.Since(began) != 0 {
			t.Errorf("error %v after %v", err, time.Since(began))
		}
	})
}

// The second signal ends all waiting, in whichever step it comes.
func TestSecondSignal(t *testing.T) {
	for _, after := range []time.Duration{0, time.Second, 2500 * time.Millisecond, 13 * time.Second} {
		inBubble(t, nil, func(t *testing.T, r *rig) {
			unhooked := 0
			signals, ran := make(chan os.Signal, 1), make(chan error, 1)
			go func() { ran <- r.life.RunWith(t.Context(), r.server, signals, func() { unhooked++ }) }()
			synctest.Wait()
			r.orders.get = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
			call := r.goGet()
			signals <- syscall.SIGTERM
			time.Sleep(after)
			synctest.Wait()
			if unhooked != 0 {
				t.Error("the first signal lets the next one end the process")
			}
			began := time.Now()
			signals <- syscall.SIGTERM
			if err := <-ran; err != nil || time.Since(began) != 0 {
				t.Errorf("second signal after %v: error %v, took %v", after, err, time.Since(began))
			}
			if unhooked != 1 {
				t.Errorf("unhooked %d times: want a third signal to end the process", unhooked)
			}
			if err := <-call; status.Code(err) != codes.Unavailable {
				t.Errorf("the call: %v", err)
			}
			if unary, _ := r.life.InFlight(); unary != 0 {
				t.Error("a handler runs")
			}
		})
	}
}
