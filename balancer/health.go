package balancer

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall/balancer/internal/sharding"
	"github.com/surecall/surecall/event"
)

// Health says how instances are asked for their health. The zero value watches the
// health of the whole server.
type Health struct {
	// Service is the name that the health service is asked for. Empty means the server
	// as a whole.
	Service string
	// Unwatched turns the health Watch off. Probes, which any answer satisfies, are
	// made all the same.
	Unwatched bool
	// Probe, if not 0, is how often each instance that has not answered anything
	// meanwhile is probed.
	Probe time.Duration
}

const (
	// healthPatience is how long a new connection waits for the first word of its
	// instance's health before it is used without.
	healthPatience = 250 * time.Millisecond
	// A Watch that ends is begun again after rewatchFirst, then twice that and so on.
	rewatchFirst = time.Second
	rewatchMax   = time.Minute
)

// attend sees to a new connection of i: it is admitted when the instance's health is
// known, watched as long as it lasts, and probed while idle if that is asked for.
func (f *Fleet) attend(i *Instance, conn *sharding.Connection) {
	health := f.config.Load().Health
	i.ill.Store(false)
	i.clear(notServing)
	f.alive(i, f.now(), "it has a new connection")
	if health.Probe > 0 {
		conn.Go(func(ctx context.Context) { f.probeIdle(ctx, i, conn, health.Probe) })
	}
	if health.Unwatched {
		conn.Admit()
		return
	}
	if c := f.config.Load(); c.Off.HealthWatch || c.Plain {
		conn.Admit() // whatever the first word will be
	}
	known := make(chan struct{})
	conn.Go(func(ctx context.Context) {
		patience := time.NewTimer(healthPatience)
		defer patience.Stop()
		select {
		case <-patience.C:
		case <-known:
		case <-ctx.Done():
			return
		}
		conn.Admit()
	})
	w := &healthWatch{fleet: f, instance: i, conn: conn, service: health.Service, known: known}
	conn.Go(w.run)
}

// healthWatch follows what one instance says of its health, over one connection. Only
// an explicit NOT_SERVING counts: a server without a health service, one that does not
// know the name, or that wants a password for it, may serve as well as any.
type healthWatch struct {
	fleet    *Fleet
	instance *Instance
	conn     *sharding.Connection
	service  string
	known    chan struct{} // closed with the first word, or when none will come
	failures int
}

func (w *healthWatch) run(ctx context.Context) {
	for {
		err := w.watch(ctx)
		if ctx.Err() != nil {
			return
		}
		w.failed(err)
		if status.Code(err) == codes.Unimplemented {
			return
		}
		if !w.fleet.pause(ctx, min(rewatchFirst<<min(w.failures-1, 10), rewatchMax)) {
			return
		}
	}
}

var watchDesc = &grpc.StreamDesc{StreamName: "Watch", ServerStreams: true}

// watch makes one Watch call and returns how it ended.
func (w *healthWatch) watch(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := w.conn.NewStream(ctx, watchDesc, healthpb.Health_Watch_FullMethodName)
	if err != nil {
		return err
	}
	if err := stream.SendMsg(&healthpb.HealthCheckRequest{Service: w.service}); err == nil {
		_ = stream.CloseSend() // RecvMsg has the error of either
	}
	for {
		var answer healthpb.HealthCheckResponse
		if err := stream.RecvMsg(&answer); err != nil {
			return err
		}
		w.failures = 0
		w.hear(answer.GetStatus())
	}
}

// hear takes what the instance says.
func (w *healthWatch) hear(s healthpb.HealthCheckResponse_ServingStatus) {
	f, i := w.fleet, w.instance
	f.Progress(i, f.now())
	ill := s == healthpb.HealthCheckResponse_NOT_SERVING
	if was := i.ill.Swap(ill); was && !ill {
		i.clear(draining) // it has changed its mind
	}
	f.heed(i, "its health service says "+s.String())
	if s == healthpb.HealthCheckResponse_SERVICE_UNKNOWN {
		w.unknown(fmt.Errorf("its health service does not know %q", w.service))
	}
	w.first()
}

// failed takes the end of a Watch. The first one after NOT_SERVING changes nothing: a
// server that is leaving ends its streams too. From the second on, nothing is known.
func (w *healthWatch) failed(err error) {
	w.failures++
	f, i := w.fleet, w.instance
	if w.failures > 1 && i.ill.Swap(false) {
		f.heed(i, "its health is not known any more: "+err.Error())
	}
	w.first()
	if w.failures > 1 || status.Code(err) != codes.Unavailable { // that may be the connection's end
		w.unknown(err)
	}
}

// unknown tells, once in an instance's life, that its health will not be known.
func (w *healthWatch) unknown(why error) {
	if f := w.fleet; w.instance.unwatchable.CompareAndSwap(false, true) && f.listening() {
		f.emit(event.HealthUnknown{Service: f.config.Load().Service, Instance: w.instance.id, Err: why})
	}
}

// first lets the connection be used.
func (w *healthWatch) first() {
	if w.known != nil {
		close(w.known)
		w.known = nil
	}
}
