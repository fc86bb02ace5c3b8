package surecall

import (
	"fmt"

	"github.com/surecall/surecall/breaker"
	"github.com/surecall/surecall/limit"
)

// WithConcurrency bounds how many unary attempts are under way: of the client, or in a
// [ForMethod] of the methods of its pattern together, beside the client's. An attempt
// that finds no room waits if the policy has a queue, without blaming any instance; else
// the call is rejected with [ErrConcurrency]. By default a client's is 1,024, or 100 for
// each known instance if that is more (Envoy, gRPC's xDS), without a queue. Critical calls
// may use all of a limit, normal ones 95 %, sheddable ones 80 %. For streams see
// [WithStreamConcurrency].
func WithConcurrency(p limit.Concurrency) MethodOption {
	return perMethod("concurrency", func(m *methodSettings) {
		m.concurrency = &scoped[limit.Concurrency]{p, m.scope}
		m.fail(p.Validate())
	})
}

// WithoutConcurrencyLimit bounds nothing: no attempts of the client, or none of a pattern's
// methods or of one call, which then take no slot of the client's either.
func WithoutConcurrencyLimit() CallOption {
	return perCall("concurrency", func(m *methodSettings) { m.concurrency = nil })
}

// WithInstanceConcurrency bounds how many unary attempts are under way on each instance.
// One that is full is passed over; if all are, the call is rejected with
// [ErrConcurrency]. By default there is no such limit. A queue makes no sense here: give
// one to [WithConcurrency].
func WithInstanceConcurrency(p limit.Concurrency) LiveOption {
	return live(func(s *settings) {
		s.instance = &p
		s.fail(p.Validate())
		if p.Queue != (limit.Queue{}) {
			s.fail(fmt.Errorf("surecall: WithInstanceConcurrency: Queue %+v: want none: who waits would wait for one instance while another is free", p.Queue))
		}
	})
}

// WithInstanceStreamConcurrency bounds how many streams are open on each instance, as
// [WithInstanceConcurrency] does for unary attempts. p.Limit is required. By default there
// is no such limit.
func WithInstanceStreamConcurrency(p limit.Concurrency) LiveOption {
	return live(func(s *settings) {
		s.instanceStreams = &p
		s.fail(p.Validate())
		if p.Limit == 0 || p.Queue != (limit.Queue{}) {
			s.fail(fmt.Errorf("surecall: WithInstanceStreamConcurrency: %+v: want a Limit, and neither Adaptive nor a Queue", p))
		}
	})
}

// WithoutInstanceStreamConcurrency bounds the streams on no instance.
func WithoutInstanceStreamConcurrency() LiveOption {
	return live(func(s *settings) { s.instanceStreams = nil })
}

// WithoutInstanceConcurrency bounds the unary attempts on no instance.
func WithoutInstanceConcurrency() LiveOption { return live(func(s *settings) { s.instance = nil }) }

// WithRateLimit bounds how many calls, streams included, begin per second: of the
// client, or in a [ForMethod] of the methods of its pattern together, beside the client's.
// A call over the rate waits if the policy says so, else it is rejected with
// [ErrRateLimited]. By default there is no limit.
func WithRateLimit(p limit.Rate) MethodOption {
	return perMethod("rate", func(m *methodSettings) {
		m.rate = &scoped[limit.Rate]{p, m.scope}
		m.fail(p.Validate())
	})
}

// WithoutRateLimit limits no rate: not the client's, or not that of a pattern's methods or
// of one call, which then do not count under the client's either.
func WithoutRateLimit() CallOption {
	return perCall("rate", func(m *methodSettings) { m.rate = nil })
}

// WithThrottle holds back calls of a method that the service would refuse, more of them
// the more it refuses (client-side throttling of Google's SRE book); they are rejected
// with [ErrThrottled]. Each method has its own. It is the gentler alternative to
// [WithMethodBreaker]; both at once are an error. By default nothing is held back.
func WithThrottle(p limit.Throttle) MethodOption {
	return perMethod("throttle", func(m *methodSettings) {
		m.throttle = &p
		m.fail(p.Validate())
	})
}

// WithoutThrottle holds nothing back.
func WithoutThrottle() CallOption {
	return perCall("throttle", func(m *methodSettings) { m.throttle = nil })
}

// WithMethodBreaker gives each method a breaker, which rejects its calls with
// [ErrMethodDown] while too many of them fail or are slow, wherever they go: the service's
// other methods are not held back by it, and no instance is blamed. By default there is
// none.
func WithMethodBreaker(p breaker.MethodPolicy) MethodOption {
	return perMethod("method breaker", func(m *methodSettings) {
		m.breaker = &p
		m.fail(p.Validate())
	})
}

// WithoutMethodBreaker rejects no call for what others of its method met.
func WithoutMethodBreaker() CallOption {
	return perCall("method breaker", func(m *methodSettings) { m.breaker = nil })
}
