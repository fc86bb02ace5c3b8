package status_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/status"
)

// Whatever changes and however slow a page is: what it was told adds up to what one shows
// that is opened now.
func TestNewsAddUp(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			s := open(t, aClient("orders", 8))
			r := s.follow()
			r.news()
			for step := range 60 {
				s.change(func(c *status.Status) { disturb(c, random, step) })
				time.Sleep(time.Duration(random.IntN(600)) * time.Millisecond)
				if random.IntN(3) == 0 {
					r.next()
				}
			}
			time.Sleep(3 * time.Second)
			fresh := s.follow()
			fresh.news()
			r.close = func() {}
			for deadline := time.Now().Add(10 * time.Second); r.parts["top"] != fresh.parts["top"] && time.Now().Before(deadline); {
				r.next()
				if r.parts["top"] > fresh.parts["top"] { // it has a newer view already
					fresh.next()
				}
			}
			if is, want := r.shows(), fresh.shows(); is != want {
				t.Errorf("seed %d: the page shows\n%s\nand a fresh one\n%s", seed, is, want)
			}
		})
	}
}

// Where a look takes long, numbers are told less often: a tenth of the time is spent on them.
func TestSlowLooksAreFewer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, aClient("orders", 5))
		s.takes = 300 * time.Millisecond
		r := s.follow()
		r.news()
		began := time.Now()
		for range 5 {
			s.change(func(c *status.Status) { c.Instances[2].InFlight++ })
			r.news()
		}
		if took := time.Since(began); took < 14*time.Second || took > 22*time.Second {
			t.Errorf("5 messages within %v: want one in 3 s or a little more", took)
		}
	})
}

// disturb changes something.
func disturb(c *status.Status, random *rand.Rand, step int) {
	n := len(c.Instances)
	switch random.IntN(8) {
	case 0, 1:
		if n > 0 {
			set(c, random.IntN(n), []event.State{event.Eligible, event.Failed, event.Draining}[random.IntN(3)])
		}
	case 2:
		if n > 0 {
			c.Instances = slices.Delete(slices.Clone(c.Instances), n-1, n)
		}
	case 3:
		again := aClient("orders", 12).Instances
		c.Instances = append(slices.Clone(c.Instances), again[random.IntN(len(again))]) // also one that is there
	case 4:
		c.Events = append([]status.Event{{At: noon.Add(time.Duration(step)), Level: "INFO", Text: fmt.Sprint("step ", step)}}, c.Events...)
	case 5:
		c.BadCalls = append([]status.BadCall{{At: noon.Add(time.Duration(step)), Code: "OK"}}, c.BadCalls[:random.IntN(len(c.BadCalls)+1)]...)
	case 6:
		if n > 0 {
			c.Instances[random.IntN(n)].InFlight++
		}
	case 7:
		c.Policies = c.Policies[:random.IntN(len(c.Policies)+1)]
	}
}
