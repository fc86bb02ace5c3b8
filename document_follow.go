package surecall

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/retry"
)

// follow follows the documents until what it returns is called, which waits for the end.
func (c *core) follow() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var watches sync.WaitGroup
	for _, d := range c.documents {
		watches.Go(func() { c.watch(ctx, d) })
	}
	return func() {
		cancel()
		watches.Wait()
	}
}

// followedBy has the documents followed as long as gRPC keeps a resolver of t.
func (c *core) followedBy(t *target) error {
	if len(c.documents) == 0 {
		return nil
	}
	if t.open == nil {
		return fmt.Errorf("surecall: DialOptions: policy documents need a target of consul, static or memory: gRPC finds the instances of %q by itself, and does not tell when the connection ends", t.service)
	}
	open := t.open
	t.open = func() (discovery.Source, func(), error) {
		source, release, err := open()
		if err != nil {
			return nil, nil, err
		}
		stop := c.follow()
		return source, func() { stop(); release() }, nil
	}
	return nil
}

// A source that gives up is asked again after this, with full jitter.
var resumption = retry.Policy{BaseDelay: time.Second, MaxDelay: 30 * time.Second}

// watch follows one document until ctx ends.
func (c *core) watch(ctx context.Context, d *document) {
	for n := 1; ; n++ {
		err := d.source.Watch(ctx, func(text []byte, err error) {
			if ctx.Err() == nil {
				c.heed(d, text, err)
			}
		})
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			err = errors.New("the source has ended")
		}
		c.heed(d, nil, err)
		if pause(ctx, resumption.Delay(n, rand.Float64())) != nil {
			return
		}
	}
}

// firstPolicies is how long a client that is to be ready waits for its documents.
const firstPolicies = time.Second

// awaitDocuments waits until each source has said something, but not for long.
func (c *core) awaitDocuments(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, firstPolicies)
	defer cancel()
	for _, d := range c.documents {
		select {
		case <-d.first:
		case <-ctx.Done():
			return
		}
	}
}
