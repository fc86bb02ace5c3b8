package balancer

import (
	"context"
	"sync"
	"time"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/surecall/surecall/balancer/internal/sharding"
)

const (
	// probeTimeout is how long a probe may take: the answer to a health check costs a
	// server well under a millisecond.
	probeTimeout = 100 * time.Millisecond
	// longProbe is how long one may take while half of the instances are out already.
	longProbe = 500 * time.Millisecond
	// reprobe is how long one may take of an instance that hangs: nobody waits for it.
	reprobe = time.Second
	// One that hangs is probed again after reprobeFirst, then twice that and so on.
	reprobeFirst = 100 * time.Millisecond
	reprobeMax   = 2 * time.Second
	// maxProbes is how many instances are probed at a time. Others are, when the monitor
	// comes to them again.
	maxProbes = 64
	// giveUp is how long an instance may hang before its connection is closed: a new
	// one may get through, and if none does, the instance is known to be gone. A unary
	// call that still waits is left to its deadline: the instance may yet answer.
	giveUp = 5 * time.Second
)

// probe asks i whether it lives, until it answers or its connection ends. timeout is for
// the first answer. It does nothing while that is done already, or too many others are
// asked.
func (f *Fleet) probe(i *Instance, timeout time.Duration) {
	conn := i.conn.Connection()
	if conn == nil || conn.ClientConnInterface == nil || !i.probing.CompareAndSwap(false, true) {
		return
	}
	if f.probes.Add(1) > maxProbes {
		f.probes.Add(-1)
		i.probing.Store(false)
		return
	}
	begun := conn.Go(func(ctx context.Context) {
		f.probeUntilAlive(ctx, i, conn, timeout)
		i.probing.Store(false)
		f.probes.Add(-1)
	})
	if !begun {
		i.probing.Store(false)
		f.probes.Add(-1)
	}
}

func (f *Fleet) probeUntilAlive(ctx context.Context, i *Instance, conn *sharding.Connection, timeout time.Duration) {
	begun := time.Now()
	for wait := reprobeFirst; ; wait = min(2*wait, reprobeMax) {
		sent := f.now()
		answered := f.answers(ctx, conn, timeout)
		if ctx.Err() != nil {
			return
		}
		if answered {
			i.probed.Store(f.now())
		}
		if answered || i.latency.progress.Load() >= sent {
			f.alive(i, f.now(), "it answers")
			return
		}
		f.hangs(i)
		if time.Since(begun) >= giveUp && i.inFlight.Load() == 0 {
			if sever := f.config.Load().Sever; sever != nil {
				sever(conn.Address)
			}
		}
		pause := time.NewTimer(wait/2 + time.Duration(f.chance()*float64(wait/2)))
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return
		}
		timeout = reprobe
	}
}

// hangs ejects an instance that answered neither calls nor a probe.
func (f *Fleet) hangs(i *Instance) {
	i.set(suspected)
	if i.set(hung) {
		i.hungAt.Store(f.now())
		f.marked(i, "calls wait on it in vain, and it does not answer a probe")
	}
}

// answers makes one probe. Any answer will do, one that knows no health checks too:
// what matters is that there is somebody.
func (f *Fleet) answers(ctx context.Context, conn *sharding.Connection, timeout time.Duration) bool {
	ctx, cancel := context.WithCancel(ctx)
	var expired bool
	var waiting sync.WaitGroup
	waiting.Go(func() {
		if expired = outwait(ctx, timeout); expired {
			cancel()
		}
	})
	err := conn.Invoke(ctx, healthpb.Health_Check_FullMethodName,
		&healthpb.HealthCheckRequest{Service: f.config.Load().Health.Service}, &healthpb.HealthCheckResponse{})
	cancel()
	waiting.Wait()
	return err == nil || !expired
}

// outwait waits for d of this process's own time, and returns false if ctx ends before.
// What it stands still, for want of a processor or because it was stopped, does not count:
// answers that came meanwhile are still to be read.
func outwait(ctx context.Context, d time.Duration) bool {
	slice := d / 10
	timer := time.NewTimer(slice)
	defer timer.Stop()
	for last := time.Now(); ; timer.Reset(slice) {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return false
		}
		now := time.Now()
		if d -= lived(now.Sub(last), slice); d <= 0 {
			return true
		}
		last = now
	}
}

// lived returns how much of a slice of time that took elapsed counts: hardly more than
// it was to take.
func lived(elapsed, slice time.Duration) time.Duration { return min(elapsed, slice+slice/2) }

// probeIdle probes an instance each time that it has answered nothing for d.
func (f *Fleet) probeIdle(ctx context.Context, i *Instance, conn *sharding.Connection, d time.Duration) {
	timer := time.NewTimer(time.Duration(f.chance() * float64(d))) // spread over the fleet
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		now := f.now()
		if quiet := now - i.latency.progress.Load(); quiet < int64(d) {
			timer.Reset(d - time.Duration(quiet))
			continue
		}
		timer.Reset(d)
		if i.has(suspected|hung) || f.answers(ctx, conn, probeTimeout) {
			continue
		}
		if ctx.Err() == nil {
			f.hangs(i)
			f.probe(i, reprobe)
		}
	}
}
