package e2e

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/surecall/surecall/event"
)

// ejectedWithin is how long after its stop a server under load may still get calls.
const ejectedWithin = 500 * time.Millisecond

// hang is how long a stopped process hangs: longer than any timeout that might end
// it by accident.
const hang = 10 * time.Second

func TestOneStopped(t *testing.T) {
	const bar = 5
	once(t, func(t *testing.T) (miss string) {
		c := newCluster(t, setup{})
		stopped, at := c.load.now(), time.Now()
		c.servers[0].stop(t)
		time.Sleep(hang)
		ejected, ok := c.callers[0].became(c.servers[0], event.Ejected, at)
		if !ok {
			t.Errorf("not ejected within %v: %+v", hang, c.client.Instances())
		}
		t.Logf("ejected %v after the stop", round(ejected.Sub(at)))
		c.servers[0].cont(t)
		time.Sleep(settle)
		// An order or a stream that it has must not be made again elsewhere. None is sent to it
		// once it is ejected.
		seen := c.finish(t, allowed{placed: 25, streams: 25, from: stopped, to: stopped + ejectedWithin})
		if plain := c.control.seen(); len(plain.failed) == 0 {
			t.Errorf("plain gRPC saw no failure in %d calls: the fault was not there", plain.issued)
		}
		if n := seen.methods[get].slow; n > bar {
			return fmt.Sprintf("%d idempotent calls above %v: want at most %d", n, slow, bar)
		}
		if took := ejected.Sub(at); took > ejectedWithin {
			return fmt.Sprintf("ejected %v after the stop: want at most %v", round(took), ejectedWithin)
		}
		return ""
	})
}

func TestAllFiveStopped(t *testing.T) { allStopped(t, 5) }

func TestTheOnlyOneStopped(t *testing.T) { allStopped(t, 1) }

// The bars of a service of which nothing answers any more.
const (
	noticedWithin  = 1500 * time.Millisecond // until calls are rejected at once
	rejectedWithin = 50 * time.Millisecond   // is at once
	trialEvery     = 50 * time.Millisecond   // a call may be tried this often
	backWithin     = 300 * time.Millisecond  // of the first instance's return
	extraRoutines  = 250                     // while all is rejected: trials, redials, the control's calls
)

func allStopped(t *testing.T, servers int) {
	once(t, func(t *testing.T) (miss string) {
		c := newCluster(t, setup{servers: servers})
		routines := runtime.NumGoroutine()
		stopped := c.load.now()
		for _, srv := range c.servers {
			srv.stop(t)
		}
		time.Sleep(hang)
		back := c.load.now()
		c.servers[0].cont(t)
		time.Sleep(settle)
		for _, srv := range c.servers[1:] {
			srv.cont(t)
		}
		time.Sleep(settle)
		end := c.load.now()
		c.load.stop()
		c.addUp(t, c.between(0, always))
		c.control.report(t)

		if before := c.between(0, stopped-slow); len(before.failed) > before.broken {
			t.Errorf("calls failed before anything was stopped: %v", before)
		}
		rejected := c.between(stopped+noticedWithin, back-deadline)
		t.Logf("stopped: %v", rejected)
		after := c.between(back+backWithin, end)
		t.Logf("returned at %v; after: %v", round(back), after)

		tooSlow, trials := c.slowRejections(stopped+noticedWithin, back-deadline)
		t.Logf("stopped: %d calls above %v, %d trials are due", tooSlow, rejectedWithin, trials)
		if tooSlow > trials {
			miss = fmt.Sprintf("%d calls took more than %v: want at most %d trials", tooSlow, rejectedWithin, trials)
		}
		if first := c.firstSuccess(back); first > backWithin {
			miss = fmt.Sprintf("the first call succeeded %v after the return: want %v", round(first), backWithin)
		}
		if len(after.failed) > 0 {
			t.Errorf("%d of %d calls failed from %v after the return on: want none", len(after.failed), after.issued, backWithin)
		}
		most := c.mostRoutines(stopped+noticedWithin+deadline, back)
		t.Logf("stopped: %d goroutines before, at most %d while calls are rejected", routines, most)
		if most > routines+extraRoutines {
			t.Errorf("%d goroutines while calls are rejected, %d before: want at most %d more", most, routines, extraRoutines)
		}
		return miss
	})
}

// slowRejections counts the calls due from..to that did not end at once, and the most
// that may be trials.
func (c *cluster) slowRejections(from, to time.Duration) (n, trials int) {
	for _, call := range c.load.took() {
		if call.due >= from && call.due < to && call.latency() > rejectedWithin {
			n++
		}
	}
	return n, int((to-from)/trialEvery) + 1
}

// firstSuccess returns how long after back the first call succeeded.
func (c *cluster) firstSuccess(back time.Duration) time.Duration {
	first := time.Hour
	for _, call := range c.load.took() {
		if call.err == nil && call.ended >= back {
			first = min(first, call.ended-back)
		}
	}
	return first
}

func (c *cluster) mostRoutines(from, to time.Duration) int {
	most := 0
	for _, s := range c.load.goroutines {
		if s.at >= from && s.at < to {
			most = max(most, s.n)
		}
	}
	return most
}
