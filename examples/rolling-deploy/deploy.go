package main

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// round is what one round of replacements took.
type round struct {
	samePorts bool
	drains    []time.Duration // from SIGTERM to the end of the process, by place
}

func (r round) String() string {
	if r.samePorts {
		return "same ports"
	}
	return "new ports"
}

// deploy replaces all servers, round after round.
func deploy(ctx context.Context, f *fleet, s *screen) ([]round, error) {
	if err := sleep(ctx, lead); err != nil {
		return nil, err
	}
	var rounds []round
	for n := 1; n <= f.config.rounds; n++ {
		r := round{samePorts: n%2 == 0, drains: make([]time.Duration, len(f.servers))}
		replace, how := replaceOnNewPorts, "new ports: the new one is online before the old one gets SIGTERM"
		if r.samePorts {
			replace, how = replaceOnSamePorts, "same ports: stopped by SIGTERM, awaited, started again"
		}
		s.say("round %d of %d, %s", n, f.config.rounds, how)
		if err := replace(ctx, f, s, r.drains); err != nil {
			return nil, err
		}
		rounds = append(rounds, r)
	}
	return rounds, sleep(ctx, lead)
}

// replaceOnNewPorts does not wait for an old server to end before it goes on: there is
// always a full fleet beside it.
func replaceOnNewPorts(ctx context.Context, f *fleet, s *screen, drains []time.Duration) error {
	errs := make([]error, len(drains))
	var leaving sync.WaitGroup
	defer leaving.Wait()
	for place, old := range f.servers {
		began := time.Now()
		fresh, err := f.start(ctx, f.newID(), "127.0.0.1:0")
		if err != nil {
			return err
		}
		f.servers[place] = fresh
		s.say("  %-10s online after %-7s → SIGTERM to %s", fresh.id, short(time.Since(began)), old.id)
		leaving.Go(func() { drains[place], errs[place] = old.leave(ctx) })
		if err := sleep(ctx, settle); err != nil {
			return err
		}
	}
	leaving.Wait()
	return firstOf(errs)
}

// replaceOnSamePorts is one server short while one is away.
func replaceOnSamePorts(ctx context.Context, f *fleet, s *screen, drains []time.Duration) error {
	for place, old := range f.servers {
		took, err := old.leave(ctx)
		if err != nil {
			return err
		}
		drains[place] = took
		began := time.Now()
		fresh, err := f.start(ctx, old.id, old.address)
		if err != nil {
			return err
		}
		f.servers[place] = fresh
		s.say("  %-10s left in %s, online again on its port after %s", old.id, short(took), short(time.Since(began)))
		if err := sleep(ctx, settle); err != nil {
			return err
		}
	}
	return nil
}

func firstOf(errs []error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// sleep returns ctx's error if it ends first.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("ended early: %w", context.Cause(ctx))
	}
}
