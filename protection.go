package surecall

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/surecall/surecall/balancer"
	"github.com/surecall/surecall/breaker"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/limit"
	"github.com/surecall/surecall/retry"
)

// Protection names something that surecall does for calls beyond finding instances and
// spreading calls over them. Each can be switched off while the client runs: see
// [WithDisabled].
type Protection string

// The protections, and what is so while one is off. What it has learned and counted is
// kept, and counts again when it is on again, unless said otherwise here.
const (
	// No instance is ejected for its failures. Its breaker stands still.
	ProtectionBreaker Protection = "breaker"
	// No call is rejected because nothing of the service answers.
	ProtectionServiceBreaker Protection = "service-breaker"
	// No call is rejected because others of its method failed.
	ProtectionMethodBreaker Protection = "method-breaker"
	// Each call is one attempt: no retry, no hedge, no attempt timeout, and no stream is
	// opened again.
	ProtectionRetry Protection = "retry"
	// No attempt is sent beside another.
	ProtectionHedge Protection = "hedge"
	// No attempt is cut for its time. One whose instance hangs is.
	ProtectionAttemptTimeout Protection = "attempt-timeout"
	// No call has a deadline but its caller's; a notification has one.
	ProtectionCallDeadline Protection = "call-deadline"
	// No limit of concurrency holds: of the client, of patterns of methods, of streams. What
	// begins meanwhile is not counted later.
	ProtectionConcurrency Protection = "concurrency"
	// No limit of concurrency of an instance holds; likewise.
	ProtectionInstanceConcurrency Protection = "instance-concurrency"
	// No limit of a rate holds.
	ProtectionRate Protection = "rate"
	// No call is held back because the service refuses many.
	ProtectionThrottle Protection = "throttle"
	// No call is answered from a cache, and none fills one. What was kept is forgotten:
	// nobody would notice that it has changed meanwhile.
	ProtectionCache Protection = "cache"
	// No alternate is asked.
	ProtectionAlternate Protection = "alternate"
	// No fallback is called.
	ProtectionFallback Protection = "fallback"
	// What instances say of their health is listened to, and not heeded.
	ProtectionHealthWatch Protection = "health-watch"
	// No instance is suspected, probed or ejected for hanging, and none of its attempts cut
	// for that. Who hangs is found out anew.
	ProtectionHangDetection Protection = "hang-detection"
	// What instances say of their leaving in their answers is not heeded; it is heard anew
	// with each answer.
	ProtectionDraining Protection = "draining"
	// An instance that is new or back has its full share of the calls at once.
	ProtectionSlowStart Protection = "slow-start"
	// An instance that says it has too much to do has its full share of the calls; it says
	// so again.
	ProtectionYield Protection = "yield"
	// What the source lists is believed at once, however much is missing. Who was there
	// only for the doubt goes, and is not taken back.
	ProtectionDoubt Protection = "doubt"

	// All of them.
	ProtectionAll Protection = "all"
)

// Protections returns all there are, ProtectionAll left out.
func Protections() []Protection {
	return []Protection{
		ProtectionBreaker, ProtectionServiceBreaker, ProtectionMethodBreaker,
		ProtectionRetry, ProtectionHedge, ProtectionAttemptTimeout, ProtectionCallDeadline,
		ProtectionConcurrency, ProtectionInstanceConcurrency, ProtectionRate, ProtectionThrottle,
		ProtectionCache, ProtectionAlternate, ProtectionFallback,
		ProtectionHealthWatch, ProtectionHangDetection, ProtectionDraining, ProtectionSlowStart, ProtectionYield, ProtectionDoubt,
	}
}

// WithDisabled switches protections off, and all others on again that an earlier
// WithDisabled has switched off; with none, all. A name that is not of [Protections] is an
// error. It wins over all options about the protection, [ForMethod]'s and [ForCall]'s too.
// What the environment has switched off stays off:
//
//	SURECALL_DISABLE=breaker,retry
//
// which is read once when a client is made, for a moment in which nobody can change the
// program. There a name that is not known only warns, as event.ConfigWarning: it must
// not keep the program from starting. Each change is told as event.ProtectionSwitched.
//
// The budget of retries has no switch: it is what bounds them.
func WithDisabled(p ...Protection) LiveOption { return disabledBy(byCode, p...) }

// Who can switch a protection off, as event.ProtectionSwitched names them.
const (
	byCode        = "code"
	byEnvironment = "environment"
)

// disabledBy switches off what by wants off, in place of what it wanted before. Each by is a
// set of its own: a protection is on when nobody wants it off.
func disabledBy(by string, p ...Protection) LiveOption {
	return live(func(s *settings) {
		set, err := protectionsOf(p)
		if err != nil {
			s.fail(fmt.Errorf("surecall: WithDisabled: %w", err))
			return
		}
		s.disable(by, set)
	})
}

func (s *settings) disable(by string, set protections) {
	s.disabled = maps.Clone(s.disabled) // an earlier s has it too
	if s.disabled == nil {
		s.disabled = map[string]protections{}
	}
	if s.disabled[by] = set; set == 0 {
		delete(s.disabled, by)
	}
}

// disableVariable is the variable of the environment that WithDisabled tells of.
const disableVariable = "SURECALL_DISABLE"

// disableByEnvironment switches off what the environment wants off. What is no name of a
// protection is a doubt, and no error.
func (s *settings) disableByEnvironment() {
	var set protections
	for _, name := range strings.Split(os.Getenv(disableVariable), ",") {
		if name = strings.ToLower(strings.TrimSpace(name)); name == "" {
			continue
		}
		one, err := protectionsOf([]Protection{Protection(name)})
		if err != nil {
			s.misnamed = append(s.misnamed, fmt.Sprintf("%s: %v", disableVariable, err))
		}
		set |= one
	}
	s.disable(byEnvironment, set)
}

// protections is a set of them: a bit for each, in the order of Protections.
type protections uint32

// protectionsOf returns the set of those named, and an error for those that are none.
func protectionsOf(names []Protection) (set protections, err error) {
	all := Protections()
	var errs []error
	for _, name := range names {
		switch at := slices.Index(all, name); {
		case name == ProtectionAll:
			set |= 1<<len(all) - 1
		case at >= 0:
			set |= 1 << at
		default:
			errs = append(errs, fmt.Errorf("protection %q: want one of %q, or %q", name, all, ProtectionAll))
		}
	}
	return set, errors.Join(errs...)
}

func (set protections) has(p Protection) bool {
	return set != 0 && set&(1<<slices.Index(Protections(), p)) != 0
}

// list returns the set's members, in the order of Protections.
func (set protections) list() (list []Protection) {
	for n, p := range Protections() {
		if set&(1<<n) != 0 {
			list = append(list, p)
		}
	}
	return list
}

// Disabled returns the protections that are switched off, whoever wants it so: see
// [WithDisabled].
func (c *Client) Disabled() []Protection { return c.core.disabled() }

func (c *core) disabled() []Protection { return c.state.Load().settings.off().list() }

// off is what is switched off.
func (s *settings) off() (set protections) {
	for _, wanted := range s.disabled {
		set |= wanted
	}
	return set
}

// withoutDisabled returns r without what is switched off, except for what has a state that
// has to be kept: see newMethod.
func (s *settings) withoutDisabled(r methodSettings) methodSettings {
	off := s.off()
	if off == 0 {
		return r
	}
	if off.has(ProtectionCallDeadline) {
		r.deadline, r.streams = 0, 0
	}
	if off.has(ProtectionRetry) {
		r.retry = &retry.Policy{MaxAttempts: 1}
	}
	if off.has(ProtectionHedge) {
		r.hedge = nil
	}
	if off.has(ProtectionAttemptTimeout) {
		r.attempt = nil
	}
	if off.has(ProtectionConcurrency) {
		r.concurrency = nil
	}
	if off.has(ProtectionRate) {
		r.rate = nil
	}
	return r
}

// keptState is the state of what of a method may be switched off.
type keptState struct {
	throttle *limit.Throttler
	breaker  *breaker.Method
	second   *secondBest
}

// keep keeps the state of what m has, and takes from m what is switched off.
func (m *method) keep(off protections) {
	m.kept = keptState{m.throttle, m.breaker, m.second}
	if off.has(ProtectionThrottle) {
		m.throttle = nil
	}
	if off.has(ProtectionMethodBreaker) {
		m.breaker = nil
	}
	m.second = m.second.withoutDisabled(off)
}

// whole returns m as it would be with nothing switched off; nil for nil.
func (m *method) whole() *method {
	if m == nil || m.kept == (keptState{m.throttle, m.breaker, m.second}) {
		return m
	}
	whole := *m
	whole.throttle, whole.breaker, whole.second = m.kept.throttle, m.kept.breaker, m.kept.second
	return &whole
}

// withoutDisabled returns b without what is switched off; nil: there is nothing left.
func (b *secondBest) withoutDisabled(off protections) *secondBest {
	if b == nil || off == 0 {
		return b
	}
	left := *b
	if off.has(ProtectionCache) {
		left.cache = nil
	}
	if off.has(ProtectionAlternate) {
		left.alternate = nil
	}
	if off.has(ProtectionFallback) {
		left.fallback = nil
	}
	if left.cache == nil && left.alternate == nil && left.fallback == nil {
		return nil
	}
	return &left
}

// fleetOff returns what of a fleet is switched off.
func (s *settings) fleetOff() balancer.Off {
	off := s.off()
	return balancer.Off{
		Breaker:       off.has(ProtectionBreaker),
		Concurrency:   off.has(ProtectionInstanceConcurrency),
		HealthWatch:   off.has(ProtectionHealthWatch),
		HangDetection: off.has(ProtectionHangDetection),
		Draining:      off.has(ProtectionDraining),
		SlowStart:     off.has(ProtectionSlowStart),
		Yield:         off.has(ProtectionYield),
		Doubt:         off.has(ProtectionDoubt),
	}
}

// cacheActs reports whether calls fill the cache, and notice what was taken back.
func (s *settings) cacheActs() bool { return !s.shadow && !s.off().has(ProtectionCache) }

// tellSwitched tells of what s switches off or on again.
func (c *core) tellSwitched(s, before *settings) {
	var was protections
	if before != nil {
		was = before.off()
	}
	now := s.off()
	for n, p := range Protections() {
		if bit := protections(1) << n; (now^was)&bit != 0 {
			wanted := s.disabled
			if now&bit == 0 {
				wanted = before.disabled // by whoever no longer wants it off
			}
			c.emit(event.ProtectionSwitched{
				Service: c.service, Protection: string(p), Off: now&bit != 0, By: whoWants(wanted, bit),
			})
		}
	}
}

// whoWants names who wants a protection off.
func whoWants(disabled map[string]protections, bit protections) string {
	var who []string
	for by, set := range disabled {
		if set&bit != 0 {
			who = append(who, by)
		}
	}
	slices.Sort(who)
	return strings.Join(who, ", ")
}
