package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"net"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/surecall/surecall/lifecycle/internal/admin"
)

// openAdmin listens on the endpoint's address, if there is one.
func (l *Life) openAdmin(ctx context.Context) error {
	a := l.config.Admin
	if a.Address == "" {
		return nil
	}
	host, port, err := net.SplitHostPort(a.Address)
	if err != nil {
		return fmt.Errorf("config Admin.Address %q: want host:port or :port: %w", a.Address, err)
	}
	if host == "" {
		host = "127.0.0.1"
	}
	if l.adminListener, err = new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(host, port)); err != nil {
		return fmt.Errorf("config Admin.Address: %w", err)
	}
	return nil
}

func (l *Life) serveAdmin() {
	if l.adminListener == nil {
		return
	}
	options := admin.Options{GetOffline: l.config.Admin.GetOffline, Hosts: l.config.Admin.Hosts}
	l.admin = admin.NewServer(admin.Handler(control{l}, options), l.log)
	l.log.Info("lifecycle: admin endpoint", "on", l.adminListener.Addr().String())
	l.serving.Go(func() { _ = l.admin.Serve(l.adminListener) })
}

// closeAdmin is the very last: until then the endpoint says how things are.
func (l *Life) closeAdmin() {
	if l.admin == nil {
		if l.adminListener != nil {
			_ = l.adminListener.Close()
		}
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), adminTimeout)
	defer cancel()
	if l.admin.Shutdown(ctx) != nil {
		_ = l.admin.Close()
	}
}

// AdminAddress returns what the admin endpoint listens on; empty if there is none, and
// before Start has returned.
func (l *Life) AdminAddress() string {
	select {
	case <-l.started:
	default:
		return ""
	}
	if l.adminListener == nil {
		return ""
	}
	return l.adminListener.Addr().String()
}

// control is the server as the admin endpoint sees it.
type control struct{ life *Life }

var _ admin.Control = control{}

// Live implements [admin.Control].
func (c control) Live() error {
	if phase, _ := c.life.where(); phase != running {
		return nil // it takes its time to begin or to end, and says so in the log
	}
	_, err := c.life.ask(context.Background(), selfAdmin)
	return err
}

// Ready implements [admin.Control].
func (c control) Ready() error {
	phase, leaving := c.life.where()
	switch {
	case phase == starting:
		return errors.New("warming up")
	case phase == ended:
		return errors.New("stopping")
	case leaving:
		return errors.New("offline or about to be")
	}
	serving, err := c.life.ask(context.Background(), selfAdmin)
	if err == nil && serving != healthpb.HealthCheckResponse_SERVING {
		return fmt.Errorf("the health service says %v", serving)
	}
	return err
}

// Offline implements [admin.Control].
func (c control) Offline(ctx context.Context) error { return c.life.Drain(ctx) }

// Online implements [admin.Control].
func (c control) Online(ctx context.Context) error { return c.life.Online(ctx) }

// InFlight implements [admin.Control].
func (c control) InFlight() admin.InFlight {
	unary, streams := c.life.InFlight()
	return admin.InFlight{Unary: unary, Streams: streams, Draining: c.life.traffic.mode.Load() >= draining}
}

func (l *Life) where() (p phase, leaving bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.phase, l.leaving != nil && !l.leaving.lifted
}
