package breaker

import "sync"

// outbox hands values to a callback in the order they were put, one at a time and
// with no lock held. Its owner puts under its own lock and delivers after releasing
// it. While one goroutine delivers, the others leave their values to it: so a callback
// may call back into the owner, and nobody waits.
type outbox[T any] struct {
	mu    sync.Mutex
	queue []T
	busy  bool
}

func (o *outbox[T]) put(v T) {
	o.mu.Lock()
	o.queue = append(o.queue, v)
	o.mu.Unlock()
}

func (o *outbox[T]) deliver(to func(T)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.busy {
		return
	}
	o.busy = true
	for len(o.queue) > 0 {
		batch := o.queue
		o.queue = nil
		o.mu.Unlock()
		for _, v := range batch {
			to(v)
		}
		o.mu.Lock()
	}
	o.busy = false
}
