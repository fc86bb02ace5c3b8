package limit

import "time"

// Those who wait for a rate have no token until one has come: x/time/rate's own
// reservations cannot be given back once a later one was made, so that whoever gave up
// would use up the rate of those who stay.

// wait lets one more wait. It requires l.mu.
func (l *RateLimiter) wait(now time.Time) *waiter {
	w := &waiter{queued: true, answer: make(chan error, 1)}
	l.waiting.append(w)
	if l.waiting.len > 1 {
		return w
	}
	l.await(now)
	if l.timer == nil {
		l.timer = time.AfterFunc(l.due.Sub(now), l.onTimer)
	} else {
		l.timer.Reset(l.due.Sub(now))
	}
	return w
}

// serve gives the tokens that have come by now to who waits, each as of when it came: a
// timer that is late costs nothing of the rate. It requires l.mu.
func (l *RateLimiter) serve(now time.Time) {
	for l.waiting.len > 0 && !l.due.After(now) {
		w := l.waiting.head
		l.remove(w)
		w.answer <- nil
		l.bucket.AllowN(l.due, 1)
		l.await(l.due)
	}
}

// await sets when the next token comes, as of now. It requires l.mu.
func (l *RateLimiter) await(now time.Time) {
	l.due = now.Add(l.until(1 - l.bucket.TokensAt(now)))
}

// hurry sees to those who wait when a token came from elsewhere, or at another rate. It
// requires l.mu.
func (l *RateLimiter) hurry(now time.Time) {
	if l.waiting.len == 0 {
		return
	}
	l.await(now)
	l.serve(now)
	if l.waiting.len > 0 {
		l.timer.Reset(l.due.Sub(now))
	}
}

func (l *RateLimiter) onTimer() {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.advance(time.Now())
	l.serve(now)
	if l.waiting.len > 0 {
		l.timer.Reset(l.due.Sub(now))
	}
}

// leave takes w out of those who wait; false if its turn has come.
func (l *RateLimiter) leave(w *waiter) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !w.queued {
		return false
	}
	l.remove(w)
	if l.waiting.len == 0 {
		l.timer.Stop()
	}
	return true
}

// remove requires l.mu.
func (l *RateLimiter) remove(w *waiter) {
	l.waiting.remove(w)
	w.queued = false
}
