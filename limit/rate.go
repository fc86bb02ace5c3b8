package limit

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// RateLimiter bounds how many calls begin per second. It is safe for concurrent use. Each
// call takes a lock for a few additions, since golang.org/x/time/rate does.
type RateLimiter struct {
	mu      sync.Mutex // guards what follows
	policy  Rate
	bucket  *rate.Limiter
	latest  time.Time
	waiting list        // the oldest at its head; none has taken its token yet
	due     time.Time   // of the next token, while anyone waits
	timer   *time.Timer // for due; nil until somebody waited
}

// NewRateLimiter returns a limiter with a full burst. p must be valid: see
// [Rate.Validate].
func NewRateLimiter(p Rate, now time.Time) *RateLimiter {
	p = p.WithDefaults()
	return &RateLimiter{policy: p, bucket: rate.NewLimiter(rate.Limit(p.PerSecond), p.Burst), latest: now}
}

// Take lets one call through, waiting for its turn if the policy says so. It returns nil,
// a *[RateError], or the error of ctx when that ended the wait: then those behind it move
// up. A wait that could not end before the deadline of ask, less what it needs, is not
// begun. now is the time by the caller's clock.
func (l *RateLimiter) Take(ctx context.Context, ask Ask, now time.Time) error {
	w, err := l.take(ask, ask.latest(ctx), now)
	if err != nil || w == nil {
		return err
	}
	select {
	case err := <-w.answer:
		return err
	case <-ctx.Done():
		if l.leave(w) {
			return ctx.Err()
		}
		return nil // its turn came first
	}
}

// Return gives back what Take took, for a call that is not made after all.
func (l *RateLimiter) Return(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now = l.advance(now)
	if l.bucket.TokensAt(now) <= float64(l.policy.Burst)-1 {
		l.bucket.AllowN(now, -1)
	}
	l.hurry(now)
}

// SetPolicy changes the policy. What was used up of the burst stays used up, and those who
// wait go on waiting, by the new rate. p must be valid: see [Rate.Validate].
func (l *RateLimiter) SetPolicy(p Rate, now time.Time) {
	p = p.WithDefaults()
	l.mu.Lock()
	defer l.mu.Unlock()
	now = l.advance(now)
	l.serve(now)
	l.policy = p
	l.bucket.SetLimitAt(now, rate.Limit(p.PerSecond))
	l.bucket.SetBurstAt(now, p.Burst)
	l.hurry(now)
}

// take takes a token, or a turn among those who wait for one, or says why not.
func (l *RateLimiter) take(ask Ask, latest, now time.Time) (*waiter, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now = l.advance(now)
	l.serve(now)
	tokens := l.bucket.TokensAt(now) - float64(l.waiting.len)
	kept := l.kept(ask.Priority)
	if tokens >= 1+kept {
		l.bucket.AllowN(now, 1)
		return nil, nil
	}
	most := l.mostWait(ask.Priority)
	if most == 0 {
		why := ErrRate
		if tokens >= 1 {
			why = ErrShed
		}
		return nil, &RateError{l.until(1 + kept - tokens), why}
	}
	wait := l.until(1 - tokens)
	if wait > most {
		return nil, &RateError{wait - most, ErrRate}
	}
	if !latest.IsZero() && now.Add(wait).After(latest) {
		return nil, &RateError{wait, ErrNoTime}
	}
	return l.wait(now), nil
}

// kept is how many tokens a call of priority p must leave to more important ones.
func (l *RateLimiter) kept(p Priority) float64 {
	switch {
	case p < Normal:
		return float64(l.policy.Burst / 2)
	case p > Normal:
		return 0
	case l.policy.Wait:
		return 0 // a critical call gets its turn because it waits longer
	default:
		return float64(l.policy.Burst / 20)
	}
}

func (l *RateLimiter) mostWait(p Priority) time.Duration {
	switch {
	case p < Normal:
		return 0
	case p > Normal:
		return l.policy.MaxWait
	default:
		return l.policy.MaxWait / 2
	}
}

// until is how long so many tokens take to come.
func (l *RateLimiter) until(tokens float64) time.Duration {
	seconds := max(0, tokens) / l.policy.PerSecond
	return time.Duration(seconds*float64(time.Second)) + 1
}

// advance returns now, or the latest instant it has seen. The bucket would pay twice for
// the time by which one caller's clock reading is older than the one before it. It
// requires l.mu.
func (l *RateLimiter) advance(now time.Time) time.Time {
	if now.After(l.latest) {
		l.latest = now
	}
	return l.latest
}
