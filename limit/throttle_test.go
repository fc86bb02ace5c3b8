package limit_test

import (
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/surecall/surecall/limit"
)

// FuzzThrottle plays a throttler against one that keeps every end.
func FuzzThrottle(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 100, 101, 102, 200, 201, 3, 3, 3, 3, 250, 5, 5})
	f.Fuzz(func(t *testing.T, ops []byte) {
		type end struct {
			step     int
			accepted bool
		}
		policy := limit.Throttle{MinRequests: 3}
		now := time.Unix(0, 0)
		throttle := limit.NewThrottler(policy, now)
		var ends []end
		for range 5 {
			for _, op := range ops {
				now = now.Add(time.Duration(op/8) * 6 * time.Millisecond)
				step := int(now.Sub(time.Unix(0, 0)) / (300 * time.Millisecond))
				requests, accepts := 0.0, 0.0
				for _, e := range ends {
					if e.step > step-10 {
						requests++
						if e.accepted {
							accepts++
						}
					}
				}
				priority := limit.Priority(op%3) - 1
				k := map[limit.Priority]float64{limit.Sheddable: 1.5, limit.Normal: 2, limit.Critical: 3}[priority]
				want := max(0, min(0.9, (requests-k*accepts)/(requests+1)))
				if requests < 3 {
					want = 0
				}
				if got := throttle.Rejected(priority, now); math.Abs(got-want) > 1e-9 {
					t.Fatalf("%v: rejected %v, want %v, of %v and %v", priority, got, want, requests, accepts)
				}
				switch {
				case !throttle.Allow(priority, now, 0.5):
					ends = append(ends, end{step, false})
					if want <= 0.5 {
						t.Fatalf("%v held back, with %v", priority, want)
					}
				case op%8 == 7: // its end says nothing
				default:
					throttle.Done(op%8 < 3, now)
					ends = append(ends, end{step, op%8 < 3})
				}
			}
		}
	})
}

// TestThrottleOutage: what a service that is down is spared, and how soon it is found to
// be back.
func TestThrottleOutage(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	now := time.Unix(0, 0)
	throttle := limit.NewThrottler(limit.Throttle{}, now)
	run := func(d time.Duration, p limit.Priority, up bool) (sent float64) {
		n := 0
		for end := now.Add(d); now.Before(end); now = now.Add(time.Millisecond) {
			if throttle.Allow(p, now, r.Float64()) {
				throttle.Done(up, now)
				n++
			}
		}
		return float64(n) / float64(d/time.Millisecond)
	}
	if sent := run(time.Minute, limit.Normal, true); sent != 1 {
		t.Errorf("sent %v to a healthy service: want all", sent)
	}
	run(10*time.Second, limit.Normal, false)
	if sent := run(time.Minute, limit.Normal, false); sent < 0.08 || sent > 0.12 {
		t.Errorf("sent %v in an outage: want a tenth", sent)
	}
	run(6*time.Second, limit.Normal, true)
	if sent := run(3*time.Second, limit.Normal, true); sent < 0.95 {
		t.Errorf("sent %v six seconds after the outage: want nearly all", sent)
	}
}

// TestThrottleByPriority: at a service that accepts 4 of 10.
func TestThrottleByPriority(t *testing.T) {
	now := time.Unix(0, 0)
	throttle := limit.NewThrottler(limit.Throttle{}, now)
	for i := range 1000 {
		throttle.Done(i%10 < 4, now)
	}
	for p, want := range map[limit.Priority]float64{limit.Sheddable: 0.4, limit.Normal: 0.2, limit.Critical: 0} {
		if got := throttle.Rejected(p, now); math.Abs(got-want) > 0.01 {
			t.Errorf("%v: rejected %v, want %v", p, got, want)
		}
	}
}

func TestThrottleManyCallers(t *testing.T) {
	now := time.Unix(0, 0)
	throttle := limit.NewThrottler(limit.Throttle{}, now)
	var all sync.WaitGroup
	for caller := range 64 {
		all.Go(func() {
			for i := range 1000 { // over 2 s, each caller a little behind another
				at := now.Add(time.Duration(i)*2*time.Millisecond - time.Duration(caller)*time.Millisecond)
				throttle.Allow(limit.Normal, at, 1)
				throttle.Done(i%2 == 0, at)
			}
		})
	}
	all.Wait()
	// 64,000 requests of which half were accepted: none lost, so sheddable calls are held
	// back with 1 − 1.5/2.
	if got := throttle.Rejected(limit.Sheddable, now.Add(2*time.Second)); math.Abs(got-0.25) > 0.0001 {
		t.Errorf("rejected %v: want 0.25", got)
	}
}
