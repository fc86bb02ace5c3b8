package browsertest

import (
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/status"
)

// stage is what a page shows that no fleet is behind, for what a fleet does too seldom.
type stage struct {
	mu    sync.Mutex
	reads int
	all   []status.Status
}

// synthetic has so many services of n instances each, one without a number.
func synthetic(n int, services ...string) *stage {
	s := &stage{}
	if len(services) == 0 {
		services = []string{"orders"}
	}
	for _, service := range services {
		now := time.Now()
		c := status.Status{
			Service: service, Target: "consul:///" + service, At: now, Since: now.Add(-time.Hour),
			Source:   status.Source{Instances: n, Answered: true, Trusted: true, Age: 1},
			Budget:   status.Budget{Tokens: 10, Capacity: 10},
			Events:   []status.Event{{At: now, Level: "INFO", Kind: "instance_added", Text: service + "-1"}},
			BadCalls: []status.BadCall{{At: now, Method: "/orders.v1.Orders/Get", Code: "OK", Took: 0.01}},
		}
		for i := range n {
			c.Instances = append(c.Instances, status.Instance{
				ID: fmt.Sprintf("%s-%d", service, i+1), Address: fmt.Sprintf("10.0.%d.%d:80", i/250, i%250+1), Zone: string(rune('a' + i%3)),
				Weight: 1, State: string(event.Eligible), Eligible: true, SlowStart: 1, Share: 1, Latency: 0.001,
				Breaker: &status.Breaker{State: "closed", Requests: 100},
			})
		}
		s.all = append(s.all, c)
	}
	return s
}

// handler serves the page. At each look every number has changed.
func (s *stage) handler() http.Handler {
	return status.Handler(func() []status.Status {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.reads++
		all := slices.Clone(s.all)
		for n := range all {
			all[n].Instances, all[n].BadCalls, all[n].Events = slices.Clone(all[n].Instances), slices.Clone(all[n].BadCalls), slices.Clone(all[n].Events)
			for i := range all[n].Instances {
				all[n].Instances[i].InFlight = (i + s.reads) % 10
				all[n].Instances[i].Latency = float64((i*7+s.reads)%20+1) / 1000
			}
		}
		return all
	})
}

func (s *stage) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// fail makes an instance of the first service fail. s.mu is held.
func (s *stage) fail(n int) {
	i := &s.all[0].Instances[n]
	i.State, i.Eligible, i.Why = string(event.Failed), false, "connection refused"
}
