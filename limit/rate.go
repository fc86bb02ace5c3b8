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
	policy Rate

	mu     sync.Mutex // guards what follows
	bucket *rate.Limiter
	latest time.Time
}

// NewRateLimiter returns a limiter with a full burst. p must be valid: see
// [Rate.Validate].
func NewRateLimiter(p Rate, now time.Time) *RateLimiter {
	p = p.WithDefaults()
	return &RateLimiter{policy: p, bucket: rate.NewLimiter(rate.Limit(p.PerSecond), p.Burst), latest: now}
}

// Take lets one call through, waiting for its turn if the policy says so. It returns nil,
// a *[RateError], or the error of ctx when that ended the wait. A wait that could not end
// before the deadline of ask, less what it needs, is not begun. now is the time by the
// caller's clock.
func (l *RateLimiter) Take(ctx context.Context, ask Ask, now time.Time) error {
	turn, wait, err := l.take(ask, ask.latest(ctx), now)
	if err != nil || wait == 0 {
		return err
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		l.mu.Lock()
		turn.CancelAt(l.advance(time.Now()))
		l.mu.Unlock()
		return ctx.Err()
	}
}

// Tokens returns how many calls could begin at once now; negative while calls wait.
func (l *RateLimiter) Tokens(now time.Time) float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.bucket.TokensAt(l.advance(now))
}

// take takes a token, at once or for a turn after wait, or says why not.
func (l *RateLimiter) take(ask Ask, latest, now time.Time) (turn *rate.Reservation, wait time.Duration, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now = l.advance(now)
	tokens := l.bucket.TokensAt(now)
	kept := l.kept(ask.Priority)
	if tokens >= 1+kept {
		l.bucket.AllowN(now, 1)
		return nil, 0, nil
	}
	most := l.mostWait(ask.Priority)
	if most == 0 {
		why := ErrRate
		if tokens >= 1 {
			why = ErrShed
		}
		return nil, 0, &RateError{l.until(1 + kept - tokens), why}
	}
	wait = l.until(1 - tokens)
	if wait > most {
		return nil, 0, &RateError{wait - most, ErrRate}
	}
	if !latest.IsZero() && now.Add(wait).After(latest) {
		return nil, 0, &RateError{wait, ErrNoTime}
	}
	turn = l.bucket.ReserveN(now, 1)
	return turn, turn.DelayFrom(now), nil
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
