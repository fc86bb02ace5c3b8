package surecall

import (
	"errors"
	"time"

	"github.com/surecall/surecall/limit"
)

// WithStreamConcurrency bounds how many streams of the client are open at once, by p. A
// stream holds its slot until it ends, a retry of it takes one anew; who finds none is
// rejected with [ErrConcurrency]. p.Limit is required, since no number suits all streams,
// and p.Adaptive cannot be used: the length of a stream says nothing of its server. By
// default there is no limit, and other limits of concurrency do not count streams; there
// is none for the streams of a pattern of methods.
func WithStreamConcurrency(p limit.Concurrency) LiveOption {
	return live(func(s *settings) {
		s.streams = &p
		if p.Adaptive.On {
			s.fail(errors.New("surecall: WithStreamConcurrency: Adaptive is on: want a fixed Limit, the length of a stream says nothing of its server"))
		} else if p.Limit == 0 {
			s.fail(errors.New("surecall: WithStreamConcurrency: Limit 0: want more than 0, or WithoutStreamConcurrency()"))
		}
		s.fail(p.Validate())
	})
}

// WithoutStreamConcurrency lets any number of streams be open.
func WithoutStreamConcurrency() LiveOption { return live(func(s *settings) { s.streams = nil }) }

const streamScope = "streams"

// newStreamLimit returns the limit of all streams; nil: none.
func (c *core) newStreamLimit(p *limit.Concurrency, old concurrencyLimit) concurrencyLimit {
	if p == nil {
		return concurrencyLimit{}
	}
	return c.newConcurrency(scoped[limit.Concurrency]{*p, streamScope}, old)
}

// takeSlot waits for the slot that t holds until its end, where there is a limit.
func (s *clientStream) takeSlot(t *streamAttempt) error {
	l := s.state.methods.limits.streams.Limiter
	if l == nil {
		return nil
	}
	if !l.TryAcquire() {
		began := time.Now()
		err := l.Acquire(s.ctx, s.ask(), began)
		if queued := time.Since(began); queued >= noticed {
			s.method.count.wait(queued)
			if t.note == nil {
				t.note = &AttemptTrace{Number: int(s.attempts), Began: began.Sub(s.began)}
			}
			t.note.Queued = queued
		}
		if err != nil {
			return s.refused(ErrConcurrency, err)
		}
	}
	t.slot.Store(l)
	return nil
}

// freeSlot gives the slot back, once.
func (t *streamAttempt) freeSlot() {
	if l := t.slot.Swap(nil); l != nil {
		l.Release()
	}
}
