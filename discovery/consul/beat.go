package consul

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/hashicorp/consul/api"
	"golang.org/x/time/rate"

	"github.com/surecall/surecall/discovery"
)

// renewal is how long after a registration it is made again. An identical one is
// silent for everyone who watches, and mends what was lost unseen.
const (
	renewal     = time.Minute
	renewalGRPC = 30 * time.Second // no heart-beat would notice the loss
)

// A heart-beat that failed is tried again within a second, so that a registration is back
// within two of its agent's return; at random within it, so that those of a fleet do not
// come back in one instant. An agent that goes on refusing is asked less and less often;
// the first refusals may be those of one that has just started and knows no token yet.
const (
	retryMax      = time.Second
	quickRefusals = 3
	earlyBeats    = 10 // because of broken connections at once; then one more in each period
)

// run is the heart-beat.
func (l *lease) run() {
	defer close(l.done)
	defer l.checkup.wait()
	var trouble outage
	early := rate.NewLimiter(rate.Every(l.period()), earlyBeats)
	next := l.rhythm(nil, trouble)
	for l.rest(next, early) {
		err := l.beat()
		if l.alive.Err() != nil {
			return
		}
		if err != nil {
			trouble.begin(l, err)
			l.unbroken() // the error has told
		} else {
			trouble.end(l)
		}
		next = l.rhythm(err, trouble)
	}
}

// rhythm returns the pause after a heart-beat: up to a tenth short of the period, so
// that the instances of a fleet spread out; after an error, a back-off.
func (l *lease) rhythm(err error, trouble outage) time.Duration {
	switch {
	case err == nil:
		period := l.period()
		return period - time.Duration(rand.Float64()*float64(period)/10)
	case trouble.refusals > quickRefusals:
		return backoff(trouble.refusals-quickRefusals, true, backoffMax, rand.Float64)
	default:
		return backoff(trouble.failures, false, min(retryMax, l.period()), rand.Float64)
	}
}

// rest waits for d and reports whether the lease is still alive. It waits for a second at
// most if the connection breaks: the agent may have restarted and know nothing. One that
// breaks each time costs no more than early allows.
func (l *lease) rest(d time.Duration, early *rate.Limiter) bool {
	due := time.Now().Add(d)
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			return true
		case <-l.alive.Done():
			return false
		case <-l.broken:
			if early.Allow() {
				soon := time.Duration(rand.Float64() * float64(retryMax))
				return pause(l.alive, min(soon, time.Until(due)))
			}
		}
	}
}

// broke notes that the connection to the agent has ended.
func (l *lease) broke() {
	select {
	case l.broken <- struct{}{}:
	default:
	}
}

// unbroken forgets that it has.
func (l *lease) unbroken() {
	select {
	case <-l.broken:
	default:
	}
}

// period is the time between heart-beats.
func (l *lease) period() time.Duration {
	if l.grpc {
		return renewalGRPC
	}
	return l.ttl / 3
}

// beat sends one heart-beat, and registers anew when the last registration is old or
// may be lost.
func (l *lease) beat() error {
	h, note := l.checkup.ask(l.alive)
	select {
	case <-l.turn:
	case <-l.alive.Done():
		return nil
	}
	defer l.yield()
	if l.alive.Err() != nil { // Release may have had the turn meanwhile
		return nil
	}
	ctx, cancel := context.WithTimeout(l.writes, writeTimeout)
	defer cancel()
	if !l.grpc && time.Since(l.made) < renewal {
		err := l.tick(ctx, h, note)
		if err == nil {
			return nil
		}
		l.made = time.Time{}
		if !notFound(err) {
			return err
		}
	}
	return l.write(ctx, l.reg, h, note)
}

// write registers r and reports its health at once: registering again does not heal a
// check that had expired. It requires the turn.
func (l *lease) write(ctx context.Context, r discovery.Registration, h discovery.Health, note string) error {
	l.made = time.Time{}
	opts := api.ServiceRegisterOpts{ReplaceExistingChecks: true}.WithContext(ctx)
	if err := l.agent.api.Agent().ServiceRegisterOpts(agentRegistration(r, h), opts); err != nil {
		return l.agent.scrub(err)
	}
	if !l.grpc {
		if err := l.tick(ctx, h, note); err != nil {
			return err
		}
	}
	l.made = time.Now()
	return nil
}

// tick sends the health. It requires the turn.
func (l *lease) tick(ctx context.Context, h discovery.Health, note string) error {
	l.last = h
	opts := (&api.QueryOptions{}).WithContext(ctx)
	if err := l.agent.api.Agent().UpdateTTLOpts(checkID(l.id), note, ttlStatus(h), opts); err != nil {
		return l.agent.scrub(err)
	}
	return nil
}

func (l *lease) yield() { l.turn <- struct{}{} }
