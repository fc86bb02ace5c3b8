package surecall

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/surecall/surecall/retry"
)

// contradictions returns what is right in each policy and wrong in all together: it would
// do nothing, or not what it says. The client's own settings are looked at, and those of
// each pattern.
func (s *settings) contradictions() (errs []error) {
	everywhere := s.base.contradictions()
	for _, what := range everywhere {
		errs = append(errs, errors.New("surecall: "+what))
	}
	for _, pattern := range s.patterns() {
		m := s.resolve(pattern)
		for _, what := range m.contradictions() {
			if !slices.Contains(everywhere, what) {
				errs = append(errs, fmt.Errorf("surecall: ForMethod(%q): %s", pattern, what))
			}
		}
		if s.says(pattern).hedge != nil && !strings.HasSuffix(pattern, "*") && !m.isIdempotent(pattern) {
			errs = append(errs, fmt.Errorf("surecall: ForMethod(%q): WithHedge: the method is not known to be idempotent: want AsIdempotent(), or idempotency_level in its proto file", pattern))
		}
	}
	return errs
}

// patterns returns the patterns that rules name.
func (s *settings) patterns() (all []string) {
	for _, r := range s.rules {
		all = append(all, r.pattern)
	}
	return all
}

// says returns what is said of just this pattern. What longer or shorter ones say is left
// out: that may have no meaning for some of their methods.
func (s *settings) says(pattern string) methodSettings {
	m := methodSettings{scope: pattern}
	for _, r := range s.rules {
		if r.pattern == pattern {
			for _, o := range r.opts {
				o.method(&m)
			}
		}
	}
	return m
}

// contradicts returns what of the options of one call contradicts what else holds for it.
// That they take away what another policy needs is as it should be.
func (m *methodSettings) contradicts(method string, says *methodSettings) error {
	var errs []error
	if says.hedge != nil || says.attempt != nil {
		for _, what := range m.contradictions() {
			errs = append(errs, errors.New(what))
		}
	}
	if says.hedge != nil && !m.isIdempotent(method) {
		errs = append(errs, errors.New("WithHedge: the method is not known to be idempotent: want AsIdempotent()"))
	}
	return errors.Join(errs...)
}

func (m *methodSettings) contradictions() (all []string) {
	fail := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	if m.ownDeadline {
		all = append(all, m.beyondDeadline()...)
	}
	if h := m.hedge; h != nil {
		if m.deadline > 0 && h.Delay >= m.deadline {
			fail("Hedge.Delay %v: want less than the call deadline of %v", h.Delay, m.deadline)
		}
		if m.retry.WithDefaults().MaxAttempts == 1 {
			fail("WithHedge and MaxAttempts 1: a hedge is a second attempt: want MaxAttempts of at least 2, or WithoutHedge()")
		}
	}
	if m.throttle != nil && m.breaker != nil {
		fail("WithThrottle and WithMethodBreaker: want one of them: they do the same job")
	}
	return all
}

// beyondDeadline returns what an attempt timeout that is no shorter than the call deadline
// is told. With the default deadline it is no error: the callers may have longer ones.
func (m *methodSettings) beyondDeadline() (all []string) {
	if m.attempt == nil || m.deadline <= 0 {
		return nil
	}
	for _, f := range []struct {
		name  string
		value time.Duration
	}{{"Fixed", m.attempt.Fixed}, {"Min", m.attempt.Min}} {
		if f.value >= m.deadline {
			all = append(all, fmt.Sprintf("AttemptTimeout.%s %v: want less than the call deadline of %v", f.name, f.value, m.deadline))
		}
	}
	return all
}

// isIdempotent reports whether a method may be executed twice with the effect of once.
func (m *methodSettings) isIdempotent(method string) bool {
	if m.idempotent != nil {
		return *m.idempotent
	}
	return retry.LookupIdempotency(method) == retry.Idempotent
}

// doubts returns what is valid and likely not what was meant.
func (s *settings) doubts() (all []string) {
	all = append(all, s.misnamed...)
	retries := func(m methodSettings) bool { return m.retry.WithDefaults().MaxAttempts > 1 }
	if s.budget != (retry.BudgetPolicy{}) && !retries(s.base) &&
		!slices.ContainsFunc(s.patterns(), func(p string) bool { return retries(s.resolve(p)) }) {
		all = append(all, "WithRetryBudget: nothing is retried, so that nothing is paid for from it")
	}
	if !s.base.ownDeadline {
		all = append(all, s.base.beyondDeadline()...)
	}
	if *cmp.Or(s.base.attempt, &AttemptTimeout{}) != (AttemptTimeout{}) && !retries(s.base) {
		all = append(all, "WithAttemptTimeout: nothing is retried, so that no attempt is cut")
	}
	if s.base.second.tuned() && !s.base.second.any() &&
		!slices.ContainsFunc(s.patterns(), func(p string) bool { m := s.resolve(p); return m.second.any() }) {
		all = append(all, uselessSecond)
	}
	for _, pattern := range s.patterns() {
		m, says := s.resolve(pattern), s.says(pattern)
		if says.second.tuned() && !m.second.any() {
			all = append(all, fmt.Sprintf("ForMethod(%q): %s", pattern, uselessSecond))
		}
		if strings.HasSuffix(pattern, "*") || m.isIdempotent(pattern) {
			continue
		}
		if says.callID {
			all = append(all, fmt.Sprintf("ForMethod(%q): WithCallID: the method is not idempotent, so that no attempt is a repeat: want AsIdempotent() if its servers drop repeats", pattern))
		}
		if says.retry != nil && says.retry.Unwanted != nil {
			all = append(all, fmt.Sprintf("ForMethod(%q): retry.Policy.Unwanted: the method is not idempotent, so that it is not repeated", pattern))
		}
	}
	return all
}

const uselessSecond = "WithFallbackReserve and WithFallbackWhen: there is no fallback, alternate or cache that they could be for"
