package lifecycle

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"

	"google.golang.org/grpc"

	"github.com/surecall/surecall/discovery"
)

// Start opens the listener, serves srv and the extra servers, warms up, goes online and
// registers. It returns when the first try of each registration has ended, well or not,
// or 3 s after the first began; what has not succeeded goes on in the background. An
// error means that nothing is registered and nothing runs any more. The end of ctx ends
// the start, not the server.
//
// Start calls srv.Serve. All services must have been registered on srv before, and
// nobody else may serve or stop it.
func (l *Life) Start(ctx context.Context, srv *grpc.Server) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	l.mu.Lock()
	if l.phase != fresh {
		l.mu.Unlock()
		return errors.New("lifecycle: start: started or stopped before: a Life is used once")
	}
	l.phase, l.cancelStart = starting, func() { cancel(errStopped) }
	l.mu.Unlock()
	err := l.start(ctx, srv)
	close(l.started)
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
		l.log.Info("lifecycle: the start was ended", "why", err)
	} else {
		l.log.Error("lifecycle: the start failed", "error", err)
	}
	l.atOnce()
	return errors.Join(fmt.Errorf("lifecycle: start: %w", err), l.Stop(context.Background()))
}

func (l *Life) start(ctx context.Context, srv *grpc.Server) error {
	if l.invalid != nil {
		return l.invalid
	}
	if err := l.open(ctx); err != nil {
		return err
	}
	if err := l.serve(srv); err != nil {
		return err
	}
	if err := l.checkInstalled(ctx); err != nil {
		return err
	}
	for _, s := range l.config.Steps {
		if err := l.warmUp(ctx, s); err != nil {
			return err
		}
	}
	return l.goOnline(ctx)
}

// open makes the listeners, and what depends on their addresses.
func (l *Life) open(ctx context.Context) error {
	lis := l.config.Listener
	if lis == nil {
		var err error
		if lis, err = new(net.ListenConfig).Listen(ctx, "tcp", l.config.Listen); err != nil {
			return fmt.Errorf("config Listen: %w", err)
		}
	}
	l.listener = newSilentListener(lis)
	self, err := newSelf(l)
	if err != nil {
		return fmt.Errorf("in-process connection: %w", err)
	}
	l.self = self
	address, err := advertised(l.config.Address, lis.Addr(), net.InterfaceAddrs)
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.address = address
	l.mu.Unlock()
	l.registrations, err = l.entries(address)
	return errors.Join(err, l.openAdmin(ctx))
}

// entries are what is to be registered at each registrar.
func (l *Life) entries(address string) ([]discovery.Registration, error) {
	c := l.config
	entries := []discovery.Registration{{
		Instance: discovery.Instance{
			ID: c.ID, Service: c.Service, Address: address, Weight: c.Weight,
			Zone: c.Zone, Region: c.Region, Tags: c.Tags, Meta: c.Meta,
		},
		TTL:  c.TTL,
		GRPC: c.GRPC,
	}}
	entries = append(entries, c.Also...)
	var errs []error
	for i := range entries {
		r := &entries[i]
		r.Instance.Address = cmp.Or(r.Instance.Address, address)
		r.Instance.Incarnation = l.nonce
		meta := map[string]string{}
		maps.Copy(meta, r.Instance.Meta)
		meta[discovery.MetaIncarnation] = l.nonce
		meta[discovery.MetaLifecycle] = "1"
		r.Instance.Meta = meta
		r.Health = l.report(r.TTL, r.Health)
		errs = append(errs, r.Validate())
		*r = r.WithDefaults()
	}
	return entries, errors.Join(errs...)
}

// serve begins to serve what has been opened. From here on /healthz answers.
func (l *Life) serve(srv *grpc.Server) error {
	l.mu.Lock()
	err := l.health.register(srv, l.ownHealth)
	l.mu.Unlock()
	if err != nil {
		return err
	}
	l.server = srv
	l.serveAdmin()
	l.serving.Go(func() { l.serveGRPC(l.listener) })
	l.serving.Go(func() { l.serveGRPC(l.self) })
	for _, e := range l.config.Extra {
		l.serving.Go(func() {
			if err := e.Serve(); !l.isAsked() {
				l.die(fmt.Errorf("lifecycle: server %q ended: %w", e.Name, cmp.Or(err, errNoReason)))
			}
		})
	}
	l.log.Info("lifecycle: listening", "on", l.listener.Addr().String(), "address", l.Address())
	return nil
}

var errNoReason = errors.New("without an error")

func (l *Life) serveGRPC(lis net.Listener) {
	if err := l.server.Serve(lis); !l.isAsked() {
		l.die(fmt.Errorf("lifecycle: the gRPC server ended: %w", cmp.Or(err, errors.New("somebody else stopped it"))))
	}
}

func (l *Life) isAsked() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.asked
}

// warmUp does one step of the program's.
func (l *Life) warmUp(ctx context.Context, s Step) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	timeout := cmp.Or(s.Timeout, defaultStepTimeout)
	err := l.step("warm up: "+s.Name, "the step to end", timeout, func() error {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		return s.Run(ctx, l.self.conn)
	})
	if err != nil && (!s.Optional || ctx.Err() != nil) {
		return fmt.Errorf("warm-up step %q: %w", s.Name, err)
	}
	return nil
}

// goOnline says everywhere that calls may come, in this order: the server itself, its
// health service, the registries. If Drain was called meanwhile, it does not.
func (l *Life) goOnline(ctx context.Context) error {
	l.mu.Lock()
	if err := ctx.Err(); err != nil || l.asked || l.died {
		l.mu.Unlock()
		return cmp.Or(err, errStopped)
	}
	l.phase = running
	if l.held {
		l.leaving = l.announce()
		close(l.leaving.done)
		l.mu.Unlock()
		return nil
	}
	l.health.set(isServing)
	l.traffic.mode.Store(open)
	tried := l.register()
	l.mu.Unlock()
	l.log.Info("lifecycle: online", "address", l.Address())
	l.await(ctx, tried)
	return nil
}

// register begins to register everything everywhere, and returns what is closed after
// the first tries. It requires mu.
func (l *Life) register() []*keeper {
	for _, registrar := range l.config.Registrars {
		for _, r := range l.registrations {
			l.keepers = append(l.keepers, l.keep(registrar, r))
		}
	}
	return l.keepers
}

// await waits until each keeper has made its first try, for registerWait at most.
func (l *Life) await(ctx context.Context, keepers []*keeper) {
	ctx, cancel := context.WithTimeout(ctx, registerWait)
	defer cancel()
	for _, k := range keepers {
		select {
		case <-k.tried:
		case <-k.done:
		case <-ctx.Done():
			return
		}
	}
}
