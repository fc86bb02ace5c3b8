package surecallotel

import (
	"errors"
	"fmt"
	"sync"

	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/surecall/surecall"
)

// scope is the name under which meters and tracers are known.
const scope = "github.com/surecall/surecall/otel"

// Observe has client's metrics and spans made until stop is called: by default all but the
// metrics of each instance, with the global providers. It becomes the client's
// [surecall.Observer]. Calls that have begun before are not seen by it; the metrics count
// them all. A client that is observed already is an error, and stays so.
//
// stop returns when no collection looks at the client any more. Calls in flight then still
// end their spans. It may be called more than once, and should be before the client's Close:
// what keeps on being observed is kept in memory.
//
// Observe and stop are safe for concurrent use, and while calls run. An Update of the
// client with another observer at the very moment of stop may be lost.
func Observe(client *surecall.Client, opts ...Option) (stop func(), err error) {
	if client == nil {
		return nil, errors.New("surecallotel: Observe: client is nil")
	}
	c, err := newConfig(opts)
	if err != nil {
		return nil, err
	}
	o, err := newObserver(c)
	if err != nil {
		return nil, err
	}
	if err := install(client, o); err != nil {
		return nil, err
	}
	unregister, err := c.export(client, func() bool { return !replaced(client, o) })
	if err != nil {
		remove(client, o)
		return nil, err
	}
	return sync.OnceFunc(func() {
		remove(client, o)
		unregister()
	}), nil
}

// NewObserver returns what [Observe] gives the client, for where there is no client yet or
// none at all: as surecall.WithObserver of NewClient it sees every call from the first on,
// and with surecall.DialOptions it works in frameworks that own the connection. It makes
// spans and durations, and may serve several clients; the metrics that are read from a
// client's status need Observe, which refuses a client that has one of these.
func NewObserver(opts ...Option) (surecall.Observer, error) {
	c, err := newConfig(opts)
	if err != nil {
		return nil, err
	}
	return newObserver(c)
}

// install makes o the client's observer, unless it has one of ours.
func install(client *surecall.Client, o *observer) error {
	if _, ours := client.Observer().(*observer); ours {
		return errObserved
	}
	if err := client.Update(surecall.WithObserver(o)); err != nil {
		return fmt.Errorf("surecallotel: %w", err)
	}
	return nil
}

var errObserved = errors.New("surecallotel: the client is observed already: call stop of that, or leave its WithObserver out")

// replaced reports whether another of ours observes the client in o's place: two that came
// at the same moment may both have been let in, and the last one counts.
func replaced(client *surecall.Client, o *observer) bool {
	now, ours := client.Observer().(*observer)
	return ours && now != o
}

// remove ends what install did, unless the client has another observer by now.
func remove(client *surecall.Client, o *observer) {
	o.stopped.Store(true)
	if client.Observer() == o {
		_ = client.Update(surecall.WithObserver(nil)) // nothing in it can be refused
	}
}

func (c *config) meter() metric.Meter {
	return c.meters.Meter(scope, metric.WithSchemaURL(semconv.SchemaURL))
}

func (c *config) tracer() trace.Tracer {
	return c.tracers.Tracer(scope, trace.WithSchemaURL(semconv.SchemaURL))
}
