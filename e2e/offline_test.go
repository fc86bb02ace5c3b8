package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"
)

// POST /offline, fifty times: how long attempts still arrive at the server, by its own
// clock. The flag shortens only what it serves on for callers that are slower to hear.
func TestOffline(t *testing.T) {
	const (
		repetitions = 50
		medianBar   = 5 * time.Millisecond
		mostBar     = 50 * time.Millisecond
		most        = 48 // of the repetitions are to be below mostBar
	)
	once(t, func(t *testing.T) (miss string) {
		flags := []string{"-propagation", "200ms"}
		c := newCluster(t, setup{flags: all(5, flags...), noControl: true})
		var lasts []time.Duration
		for n := range repetitions {
			srv := c.servers[n%5]
			answer, err := ask(http.MethodPost, "http://"+srv.admin+"/offline")
			if err != nil {
				t.Fatal(err)
			}
			last, err := time.ParseDuration(answer)
			if err != nil {
				t.Fatal(err)
			}
			lasts = append(lasts, max(last, 0))
			came := srv.counter.Received()
			srv.post(t, "/online")
			c.await(t, 5*time.Second, srv.id+" gets calls again", func() bool { return srv.counter.Received() > came })
		}
		c.exactly(t, c.finish(t, allowed{}))
		slices.Sort(lasts)
		within := slices.IndexFunc(lasts, func(d time.Duration) bool { return d >= mostBar })
		if within < 0 {
			within = repetitions
		}
		none := slices.IndexFunc(lasts, func(d time.Duration) bool { return d > 0 })
		median := lasts[repetitions/2]
		t.Logf("the last attempt arrived after POST /offline: median %v, 48th of 50 %v, the latest %v; %d of %d below %v; in %d none came",
			median, lasts[most-1], lasts[repetitions-1], within, repetitions, mostBar, none)
		if median >= medianBar || within < most {
			return fmt.Sprintf("the median is %v and %d are below %v: want below %v, and %d", median, within, mostBar, medianBar, most)
		}
		return ""
	})
}
