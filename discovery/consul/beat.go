package consul

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/surecall/surecall/discovery"
)

// renewal is how long after a registration it is made again. An identical one is
// silent for everyone who watches, and mends what was lost unseen.
const (
	renewal     = time.Minute
	renewalGRPC = 30 * time.Second // no heart-beat would notice the loss
)

// run is the heart-beat.
func (l *lease) run() {
	defer close(l.done)
	var trouble outage
	next := l.rhythm(nil, 0)
	for pause(l.alive, next) {
		err := l.beat()
		if l.alive.Err() != nil {
			return
		}
		if err != nil {
			trouble.begin(l, err)
		} else {
			trouble.end(l)
		}
		next = l.rhythm(err, trouble.failures)
	}
}

// rhythm returns the pause after a heart-beat: up to a tenth short of the period, so
// that the instances of a fleet spread out; after an error, a back-off within it.
func (l *lease) rhythm(err error, failures int) time.Duration {
	period := l.period()
	switch {
	case err == nil:
	case permanent(err):
		return backoff(failures, true, backoffMax, rand.Float64)
	default:
		return backoff(failures, false, period, rand.Float64)
	}
	return period - time.Duration(rand.Float64()*float64(period)/10)
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
	h, note := l.ask(l.alive)
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

// ask returns the health to report and why.
func (l *lease) ask(ctx context.Context) (discovery.Health, string) {
	if l.health == nil || l.grpc {
		return discovery.Passing, ""
	}
	ctx, cancel := context.WithTimeout(ctx, l.ttl/3)
	defer cancel()
	return l.health(ctx)
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
