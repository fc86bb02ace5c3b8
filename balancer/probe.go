package balancer

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"

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
	// maxProbes is how many probes are under way at a time. Others take their turn.
	maxProbes = 64
	// probeTurn is how soon one that has to wait for its turn looks again.
	probeTurn = 20 * time.Millisecond
	// giveUp is how long an instance may hang before its connection is closed: a new
	// one may get through, and if none does, the instance is known to be gone. A unary
	// call that still waits is left to its deadline: the instance may yet answer.
	giveUp = 5 * time.Second
)

// probe asks i whether it lives, until it answers or its connection ends. timeout is for
// the first answer. It does nothing while that is done already.
func (f *Fleet) probe(i *Instance, timeout time.Duration) {
	conn := i.conn.Connection()
	if f.config.Load().Off.HangDetection || conn == nil || conn.ClientConnInterface == nil || !i.probing.CompareAndSwap(false, true) {
		return
	}
	begun := conn.Go(func(ctx context.Context) {
		f.probeUntilAlive(ctx, i, conn, timeout)
		i.probing.Store(false)
		f.monitorFrom(f.now())
	})
	if !begun {
		i.probing.Store(false)
	}
}

func (f *Fleet) probeUntilAlive(ctx context.Context, i *Instance, conn *sharding.Connection, timeout time.Duration) {
	begun := time.Now()
	for wait := reprobeFirst; ; wait = min(2*wait, reprobeMax) {
		sent := f.now()
		answered, silent := f.ask(ctx, conn, timeout)
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
		if f.config.Load().Off.HangDetection {
			f.alive(i, f.now(), "the detection of hangs was switched off")
			return
		}
		if silent {
			f.hangs(i)
		}
		if sever := f.config.Load().Sever; sever != nil && time.Since(begun) >= giveUp && !f.waitedOn(conn.Address) {
			sever(conn.Address)
		}
		if !f.pause(ctx, wait) {
			return
		}
		timeout = reprobe
	}
}

// pause waits for between half of d and d, so that clients and instances spread out, and
// returns false if ctx ends before.
func (f *Fleet) pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d/2 + time.Duration(f.chance()*float64(d/2)))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// waitedOn reports whether a unary call waits on an instance at that address, in this
// life of it or an earlier one: they may share a connection.
func (f *Fleet) waitedOn(address string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for id, i := range f.store {
		if i.inFlight.Load() > 0 && slices.Contains(strings.Split(id.address, ","), address) {
			return true
		}
	}
	return false
}

// hangs ejects an instance that answered neither calls nor a probe.
func (f *Fleet) hangs(i *Instance) {
	i.set(suspected)
	if i.set(hung) {
		i.hungAt.Store(f.now())
		i.rehearsed.ejections.Add(1)
		f.marked(i, "calls wait on it in vain, and it does not answer a probe")
	}
}

// ask makes one probe, when it is its turn. Any answer will do, one that knows no health
// checks too: what matters is that there is somebody. An error of gRPC's own, for a
// connection that is going, is neither an answer nor silence.
func (f *Fleet) ask(ctx context.Context, conn *sharding.Connection, timeout time.Duration) (answered, silent bool) {
	for f.probes.Add(1) > maxProbes {
		f.probes.Add(-1)
		if !f.pause(ctx, probeTurn) {
			return false, false
		}
	}
	defer f.probes.Add(-1)
	ctx, cancel := context.WithCancel(ctx)
	var waiting sync.WaitGroup
	waiting.Go(func() {
		if silent = outwait(ctx, timeout); silent {
			cancel()
		}
	})
	var header, trailer metadata.MD
	err := conn.Invoke(ctx, healthpb.Health_Check_FullMethodName,
		&healthpb.HealthCheckRequest{Service: f.config.Load().Health.Service}, &healthpb.HealthCheckResponse{},
		grpc.Header(&header), grpc.Trailer(&trailer))
	cancel()
	waiting.Wait()
	return err == nil || len(header)+len(trailer) > 0, silent
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
		if i.probing.Load() {
			continue
		}
		if answered, silent := f.ask(ctx, conn, probeTimeout); silent && !answered && ctx.Err() == nil && !f.config.Load().Off.HangDetection {
			f.hangs(i)
			f.probe(i, reprobe)
		}
	}
}
