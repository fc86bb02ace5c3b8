package lifecycle

import (
	"context"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"google.golang.org/grpc"
)

// Run starts srv, serves until SIGTERM or an interrupt comes, ctx ends, Stop is called or
// a server dies, and leaves. It returns when no handler runs: nil, or what kept it from
// starting, what died, and which hooks failed, joined. A second signal ends all waiting; a
// third one ends the process, as without Run, if a handler ignores that its context
// has ended.
func (l *Life) Run(ctx context.Context, srv *grpc.Server) error {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	return l.run(ctx, srv, signals, func() { signal.Stop(signals) })
}

func (l *Life) run(ctx context.Context, srv *grpc.Server, signals <-chan os.Signal, unhook func()) error {
	until, cancel := context.WithCancel(ctx)
	defer cancel()
	wait, atOnce := context.WithCancel(context.WithoutCancel(ctx))
	var listening sync.WaitGroup
	defer func() {
		atOnce()
		listening.Wait()
	}()
	listening.Go(func() {
		for _, f := range []func(){cancel, func() { unhook(); atOnce() }} {
			select {
			case s := <-signals:
				l.log.Info("lifecycle: got a signal", "signal", s.String())
				f()
			case <-wait.Done():
				return
			}
		}
	})
	if err := l.Start(until, srv); err != nil {
		if until.Err() != nil {
			return nil // nobody wants it any more
		}
		return err
	}
	select {
	case <-until.Done():
	case <-l.Done():
	}
	return l.Stop(wait)
}
