package consul

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/surecall/surecall/discovery"
)

// forgetful is an agent that has just started and knows no registration.
type forgetful struct{ registered, beaten atomic.Bool }

func (a *forgetful) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case strings.HasSuffix(r.URL.Path, regPath):
		a.registered.Store(true)
	case a.registered.Load():
		a.beaten.Store(true)
	default:
		http.Error(w, `Unknown check ID "surecall:o1"`, http.StatusNotFound)
	}
}

// However an agent was away, and for however long, a registration is there again within
// two seconds of its return.
func TestLeaseIsBackWithinTwoSeconds(t *testing.T) {
	fails := func(code int, text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { http.Error(w, text, code) }
	}
	for name, away := range map[string]func(f *fakeAgent, d time.Duration, next http.Handler){
		"it refused connections": func(f *fakeAgent, d time.Duration, next http.Handler) {
			f.handle(next.ServeHTTP)
			f.mu.Lock()
			f.refuse["consul.test:8500"] = true
			f.mu.Unlock()
			f.cut()
			time.Sleep(d)
			f.mu.Lock()
			clear(f.refuse)
			f.mu.Unlock()
		},
		"it had no leader": func(f *fakeAgent, d time.Duration, next http.Handler) {
			f.handle(fails(500, "No cluster leader"))
			time.Sleep(d)
			f.handle(next.ServeHTTP)
		},
		"it was frozen": func(f *fakeAgent, d time.Duration, next http.Handler) {
			thawed := make(chan struct{})
			f.handle(func(w http.ResponseWriter, r *http.Request) {
				<-thawed
				next.ServeHTTP(w, r)
			})
			time.Sleep(d)
			close(thawed)
		},
		"it did not know its tokens yet": func(f *fakeAgent, d time.Duration, next http.Handler) {
			f.handle(fails(500, "No cluster leader"))
			time.Sleep(d)
			f.handle(fails(403, "ACL not found"))
			time.Sleep(200 * time.Millisecond)
			f.handle(next.ServeHTTP)
		},
		"it restarted between two heart-beats": func(f *fakeAgent, _ time.Duration, next http.Handler) {
			f.handle(next.ServeHTTP)
			f.cut()
		},
	} {
		for _, d := range []time.Duration{10 * time.Second, time.Minute} {
			t.Run(fmt.Sprintf("%s for %v", name, d), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					f, next := newFakeAgent(t, ok), &forgetful{}
					register(t, f.source(Config{}), orders)
					time.Sleep(500 * time.Millisecond)
					away(f, d, next)
					time.Sleep(2 * time.Second)
					synctest.Wait()
					if !next.registered.Load() || !next.beaten.Load() {
						t.Errorf("after two seconds: registered %v, beaten %v", next.registered.Load(), next.beaten.Load())
					}
				})
			})
		}
	}
}

// The registrations of a fleet do not come back in one instant.
func TestLeasesComeBackSpreadOut(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const fleet = 100
		f := newFakeAgent(t, ok)
		s := f.source(Config{})
		for range fleet {
			register(t, s, orders)
		}
		f.handle(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "down", 500) })
		time.Sleep(20 * time.Second)
		f.handle(ok)
		f.requests()
		back := time.Now()
		time.Sleep(time.Second)
		var tenths [11]int
		total := 0
		for _, r := range f.requests() {
			if strings.HasSuffix(r.path, regPath) {
				tenths[r.at.Sub(back)/(100*time.Millisecond)]++
				total++
			}
		}
		for _, n := range tenths {
			if total != fleet || n > fleet/3 {
				t.Fatalf("registrations per tenth of a second: %v, want %d spread out", tenths, fleet)
			}
		}
	})
}

// A proxy that ends each connection after its answer must not make a hot loop.
func TestBreakingConnectionsCostLittle(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFakeAgent(t, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Connection", "close") })
		register(t, f.source(Config{}), orders)
		f.requests()
		time.Sleep(50 * time.Second)
		synctest.Wait()
		if n := len(f.requests()); n < 10 || n > 33 {
			t.Errorf("%d heart-beats in 50 s: want at most two in each period of 5 s, and ten", n)
		}
	})
}

// An agent that goes on refusing is not asked each second.
func TestRefusalsSlowDown(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFakeAgent(t, ok)
		register(t, f.source(Config{}), orders)
		f.handle(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "Permission denied", 403) })
		f.requests()
		time.Sleep(10 * time.Minute)
		if n := len(f.requests()); n < 20 || n > 100 {
			t.Errorf("%d tries in 10 minutes of refusals", n)
		}
	})
}

// A server whose own check hangs is reported as critical before its TTL runs out, is asked
// one call at a time, and heals with the first answer that comes in time.
func TestHangingHealthIsCritical(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var calls, running atomic.Int32
		hang := make(chan struct{})
		var hangs atomic.Bool
		r := orders
		r.Health = func(context.Context) (discovery.Health, string) {
			calls.Add(1)
			if running.Add(1) > 1 {
				t.Error("two calls at a time")
			}
			defer running.Add(-1)
			if hangs.Load() {
				<-hang // whatever its context says
			}
			return discovery.Passing, ""
		}
		f := newFakeAgent(t, ok)
		register(t, f.source(Config{}), r)
		f.requests()
		hangs.Store(true)
		time.Sleep(15*time.Second - time.Millisecond) // the TTL
		synctest.Wait()
		beats := f.requests()
		if len(beats) == 0 || !strings.Contains(beats[0].body, "critical") || !strings.Contains(beats[0].body, "no answer within 5s") {
			t.Fatalf("beats %+v", beats)
		}
		before := calls.Load()
		time.Sleep(time.Minute)
		if calls.Load() != before {
			t.Error("asked again while a call is out")
		}
		for i, b := range f.requests() {
			if strings.HasSuffix(b.path, beatPath) && !strings.Contains(b.body, "critical") {
				t.Errorf("beat %d: %s", i, b.body)
			}
		}
		hangs.Store(false)
		close(hang)
		time.Sleep(11 * time.Second)
		synctest.Wait()
		beats = f.requests()
		if len(beats) == 0 || !strings.Contains(beats[len(beats)-1].body, "passing") {
			t.Errorf("after it answers again: %+v", beats)
		}
	})
}

// Health is awaited by Release, and by Register, for as long as their contexts say.
func TestHealthThatNeverReturns(t *testing.T) {
	bubble(t, func(t *testing.T) {
		let := make(chan struct{})
		var hangs atomic.Bool
		r := orders
		r.Health = func(context.Context) (discovery.Health, string) {
			if hangs.Load() {
				<-let
			}
			return discovery.Passing, ""
		}
		f := newFakeAgent(t, ok)
		s := f.source(Config{})
		l := register(t, s, r)
		hangs.Store(true)
		time.Sleep(6 * time.Second)
		start := time.Now()
		if err := l.Release(context.Background()); !strings.Contains(text(err), "Health does not return") || time.Since(start) != writeTimeout {
			t.Errorf("Release: %v after %v", err, time.Since(start))
		}
		if got := paths(f.requests()); !strings.HasSuffix(got, outPath) {
			t.Errorf("asked %s: want it taken out all the same", got)
		}
		start = time.Now()
		_, err := s.Register(context.Background(), r)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(text(err), "Health does not return") || time.Since(start) != writeTimeout {
			t.Errorf("Register: %v after %v", err, time.Since(start))
		}
		close(let)
	})
}
