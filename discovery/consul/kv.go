package consul

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"
	"golang.org/x/time/rate"
)

// Key is one key of Consul's KV store.
type Key struct {
	Path string // "surecall/orders"
	// Empty: those of the source.
	Datacenter, Namespace, Partition string
}

// keyInterval is the least time between two waits for a change of a key after a burst: for
// a key that does not exist they end with every write to its neighbours.
const keyInterval = 200 * time.Millisecond

// WatchKey calls update, one call at a time, with the value of a key, and again with each
// new one, until ctx ends or the source is closed. A value of nil without an error: there is
// no such key. While the agent cannot say, update gets the error, once for each different
// one; it is asked again after 100 ms ×2 … 30 s with full jitter. A token needs key:read. It
// holds one connection to the agent.
func (s *Source) WatchKey(ctx context.Context, k Key, update func(value []byte, err error)) error {
	if err := k.Validate(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done := make(chan struct{})
	defer close(done)
	go func() {
		select {
		case <-s.closed:
			cancel(errClosed)
		case <-done:
		}
	}()
	w := keyWatch{agent: s.hub.agent, key: k, update: update}
	w.run(ctx)
	return context.Cause(ctx)
}

// Validate reports what is wrong with k.
func (k Key) Validate() error {
	if k.Path == "" || strings.HasPrefix(k.Path, "/") || strings.HasSuffix(k.Path, "/") {
		return fmt.Errorf("discovery/consul: key %q: want a path such as %q", k.Path, "surecall/orders")
	}
	if elements := strings.Split(k.Path, "/"); slices.Contains(elements, "..") || slices.Contains(elements, ".") || slices.Contains(elements, "") {
		return fmt.Errorf("discovery/consul: key %q: want no empty, %q or %q element", k.Path, ".", "..")
	}
	return nil
}

// keyWatch follows one key for one user.
type keyWatch struct {
	agent  *agent
	key    Key
	update func([]byte, error)

	told  bool   // update was called
	value []byte // that it was told last
	err   string // or with which error
}

// keyAnswer is one successful read of a key.
type keyAnswer struct {
	value []byte // nil: there is none
	index uint64
	took  time.Duration
}

// run asks until ctx ends.
func (w *keyWatch) run(ctx context.Context) {
	limit := rate.NewLimiter(rate.Every(keyInterval), burst)
	next, failures := plan{}, 0
	for pause(ctx, next.pause) {
		a, err := w.read(ctx, next)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			failures++
			next = plan{pause: backoff(failures, permanent(err), backoffMax, rand.Float64)}
		default:
			failures, next = 0, w.after(next, a, func() time.Duration { return limit.Reserve().Delay() })
		}
		w.tell(a.value, err)
	}
}

// after plans the read after an answer to asked. It waits for a change only right after an
// answer: once there was a pause, the registry may have lost its data meanwhile, and waiting
// on the old index would blind us.
func (w *keyWatch) after(asked plan, a keyAnswer, delay func() time.Duration) plan {
	wait := plan{index: a.index, wait: w.agent.WaitTime}
	switch {
	case a.index == 0: // a proxy strips the header: waiting would return at once, for ever
		return plan{pause: pollPause}
	case asked.index == 0:
		return wait
	case asked.index == a.index && a.took < asked.wait/2:
		return plan{pause: earlyPause}
	}
	if d := delay(); d > 0 || a.index < asked.index {
		return plan{pause: d}
	}
	return wait
}

// tell hands over what the user does not have.
func (w *keyWatch) tell(value []byte, err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if w.told && w.err == text && (err != nil || bytes.Equal(w.value, value) && (w.value == nil) == (value == nil)) {
		return
	}
	w.told, w.value, w.err = true, value, text
	w.update(bytes.Clone(value), err)
}

// read makes the planned read, which goes to the leader: a follower cut off from it would
// answer with what the key was long ago.
func (w *keyWatch) read(ctx context.Context, p plan) (keyAnswer, error) {
	ctx, cancel := context.WithTimeout(ctx, p.wait+p.wait/16+readTimeout)
	defer cancel()
	opts := (&api.QueryOptions{
		Datacenter: w.key.Datacenter, Namespace: w.key.Namespace, Partition: w.key.Partition,
		WaitIndex: p.index, WaitTime: p.wait,
	}).WithContext(ctx)
	if opts.Datacenter == "" {
		opts.Datacenter = w.agent.Datacenter
	}
	pair, meta, err := w.agent.api.KV().Get(w.key.Path, opts)
	if err != nil {
		return keyAnswer{}, fmt.Errorf("discovery/consul: key %q: %w", w.key.Path, w.agent.scrub(err))
	}
	a := keyAnswer{index: meta.LastIndex, took: meta.RequestTime}
	if pair != nil {
		a.value = append([]byte{}, pair.Value...)
	}
	return a, nil
}
