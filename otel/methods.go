package surecallotel

import (
	"maps"
	"strings"
	"sync"
	"sync/atomic"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/surecall/surecall/status"
)

// maxMethods bounds what a program that makes method names up can make grow: those beyond
// are [otherMethod] together.
const maxMethods = 1000

// otherMethod is the semantic conventions' name for a method that is not told by its own.
const otherMethod = "_OTHER"

// method is what all calls of one method have in common, made once.
type method struct {
	name    string // of the spans of its calls
	begin   []trace.SpanStartOption
	attempt []trace.SpanStartOption

	// attributes of its durations, and with each status code what is given to the histogram.
	attributes []attribute.KeyValue
	records    [codeCount]atomic.Pointer[[]metric.RecordOption]
}

// methods is the table of them: one lookup in an immutable map, which is copied when a
// method is called for the first time.
type methods struct {
	config *config
	table  atomic.Pointer[map[key]*method]
	mu     sync.Mutex // one copy at a time
}

type key struct{ service, method string }

func newMethods(c *config) *methods {
	t := &methods{config: c}
	t.table.Store(&map[key]*method{})
	return t
}

// find returns the method of that full name.
func (t *methods) find(service, full string) *method {
	k := key{service, full}
	old := *t.table.Load()
	if m := old[k]; m != nil {
		return m
	}
	if len(old) < maxMethods { // once it is full, nobody waits for anybody
		t.mu.Lock()
		defer t.mu.Unlock()
		old = *t.table.Load()
	}
	if m := old[k]; m != nil {
		return m
	}
	if len(old) >= maxMethods {
		return t.config.newMethod(service, otherMethod, full)
	}
	m := t.config.newMethod(service, full, full)
	next := maps.Clone(old)
	next[k] = m
	t.table.Store(&next)
	return m
}

func (c *config) newMethod(service, full, original string) *method {
	name, kind := text(strings.TrimPrefix(full, "/")), trace.SpanKindClient
	if c.plugin {
		kind = trace.SpanKindInternal
	}
	attrs := append([]attribute.KeyValue{attribute.String(status.AttrService, service), semconv.RPCMethod(name)}, c.attributes...)
	// What a sampler may look at is there from the beginning.
	begin := append([]attribute.KeyValue{semconv.RPCSystemNameGRPC, semconv.ServerAddress(service)}, attrs...)
	if full == otherMethod {
		name = semconv.RPCSystemNameGRPC.Value.AsString()
		begin = append(begin, semconv.RPCMethodOriginal(text(strings.TrimPrefix(original, "/"))))
	}
	return &method{
		name:       name,
		begin:      []trace.SpanStartOption{trace.WithSpanKind(kind), trace.WithAttributes(begin...)},
		attempt:    []trace.SpanStartOption{trace.WithSpanKind(kind)},
		attributes: attrs,
	}
}
