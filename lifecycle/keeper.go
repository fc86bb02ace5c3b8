package lifecycle

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/event"
)

const (
	registerTimeout = 10 * time.Second       // of one try: two writes over a bad link
	registerWait    = 3 * time.Second        // for the first try, by Start and Online
	retryBase       = 100 * time.Millisecond // the first pause after a failed try
	retryMax        = 5 * time.Second
)

// keeper makes one registration, however long that takes, and takes it out again. Once
// it is made, its lease keeps it.
type keeper struct {
	life         *Life
	registrar    discovery.Registrar
	registration discovery.Registration

	trying  context.Context // until it is to end
	quit    context.CancelFunc
	tried   chan struct{} // closed after the first try
	release context.Context
	done    chan struct{}
	err     error // of the release
}

func (l *Life) keep(registrar discovery.Registrar, r discovery.Registration) *keeper {
	k := &keeper{life: l, registrar: registrar, registration: r, tried: make(chan struct{}), done: make(chan struct{})}
	k.trying, k.quit = context.WithCancel(context.Background())
	go k.run()
	return k
}

// end takes the registration out. ctx bounds that.
func (k *keeper) end(ctx context.Context) error {
	k.release = ctx
	k.quit()
	select {
	case <-k.done:
		return k.err
	case <-ctx.Done():
		return fmt.Errorf("%q: %w", k.registration.Instance.Service, context.Cause(ctx))
	}
}

func (k *keeper) run() {
	defer close(k.done)
	lease := k.obtain()
	if lease == nil {
		return
	}
	<-k.trying.Done()
	k.err = lease.Release(k.release)
}

// obtain tries until it has a lease, or nil when it is to end.
func (k *keeper) obtain() discovery.Lease {
	service, id := k.registration.Instance.Service, k.registration.Instance.ID
	var since time.Time // of the first failure
	for n := 0; k.trying.Err() == nil; n++ {
		lease, err := k.try()
		switch {
		case err == nil && n == 0:
			k.life.log.Info("lifecycle: registered", "registered", service, "instance", id)
		case err == nil:
			after := time.Since(since)
			k.life.log.Info("lifecycle: registered at last", "registered", service, "instance", id, "after", after)
			k.life.tell(event.RegistrationRecovered{Service: service, Instance: id, After: after})
		case n == 0 && k.trying.Err() == nil:
			since = time.Now()
			k.life.log.Error("lifecycle: cannot register: callers do not find this instance; trying on", "registered", service, "instance", id, "error", err)
			k.life.tell(event.RegistrationDegraded{Service: service, Instance: id, Err: err})
		}
		if n == 0 {
			close(k.tried)
		}
		if err == nil {
			return lease
		}
		_ = sleep(k.trying, retryPause(n, rand.Float64))
	}
	return nil
}

func (k *keeper) try() (discovery.Lease, error) {
	ctx, cancel := context.WithTimeout(k.trying, registerTimeout)
	defer cancel()
	return k.registrar.Register(ctx, k.registration)
}

// retryPause returns the pause after the n-th failed try, from 0: doubling from
// retryBase to retryMax, of which between half and all, so that a fleet spreads out.
func retryPause(n int, random func() float64) time.Duration {
	d := retryMax
	if n < 6 {
		d = min(d, retryBase<<n)
	}
	return d/2 + time.Duration(random()*float64(d)/2)
}

// sleep waits for d, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
