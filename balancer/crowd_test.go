package balancer

import (
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/balancer"

	"github.com/surecall/surecall/breaker"
	"github.com/surecall/surecall/limit"
)

// TestAllAtOnce: 64 callers of every kind, while instances come and go, yield, fail, are
// taken out by hand, and the policies change. Nothing is lost: in the end nobody is in
// flight, and no slot is taken.
func TestAllAtOnce(t *testing.T) {
	const n = 6
	r, _ := limited(n, 8, Config{Breaker: &breaker.Policy{}, Random: rand.Uint64})
	stop := make(chan struct{})
	var hands, callers sync.WaitGroup
	disturb := func(do func(k int)) {
		hands.Go(func() {
			for k := 0; ; k++ {
				select {
				case <-stop:
					return
				default:
					do(k)
				}
			}
		})
	}
	disturb(func(k int) { r.set(instances(n-k%3, func(i int) int { return 1 + (i+k)%4 })) })
	disturb(func(k int) { _ = r.fleet.SetMode("i"+strconv.Itoa(k%n), breaker.Mode(k/n%3)) })
	disturb(func(k int) {
		c := *r.fleet.config.Load()
		c.Concurrency = &limit.Concurrency{Limit: 5 + k%4}
		if k%3 == 0 {
			c.Concurrency = &limit.Concurrency{Adaptive: limit.Adaptive{On: true}}
		}
		r.fleet.Configure(c)
		r.fleet.Status()
	})
	for caller := range 64 {
		callers.Go(func() {
			for k := range 300 {
				a := &Attempt{Priority: limit.Priority(k%3 - 1), Retryable: k%2 == 0, Stream: caller%8 == 0}
				switch caller % 4 {
				case 1:
					a.Route = &Route{Key: strconv.Itoa(k)}
				case 2:
					a.Route = &Route{Instance: "i" + strconv.Itoa(k%n)}
				}
				i, err := r.pick(a, r.fleet.now())
				if err != nil {
					continue
				}
				if id := a.pin(); id != "" && i.id != id {
					t.Errorf("pinned to %s, and went to %s", id, i.id)
				}
				if k%5 == 0 {
					r.fleet.Yield(i, time.Duration(k%2)*time.Millisecond, r.fleet.now())
				}
				switch k % 7 {
				case 0:
					a.finished(balancer.DoneInfo{})
				case 1:
					r.end(a, breaker.Failure, r.fleet.now())
				default:
					a.finished(doneOK)
					a.Measured(limit.Success, time.Millisecond, time.Now())
					a.Judge(breaker.Success)
				}
			}
		})
	}
	callers.Wait()
	close(stop)
	hands.Wait()
	for _, i := range r.fleet.store {
		if l := i.limits.Load().unary; i.inFlight.Load() != 0 || i.streams.Load() != 0 || l.InFlight() != 0 {
			t.Errorf("%s: %d attempts, %d streams, %d slots", i.id, i.inFlight.Load(), i.streams.Load(), l.InFlight())
		}
	}
	r.lb.Close()
}
