package event_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/surecall/surecall/event"
)

// record collects what is logged, as "LEVEL text".
type record struct {
	mu    sync.Mutex
	lines []string
	level slog.Level
}

func (r *record) Enabled(_ context.Context, l slog.Level) bool { return l >= r.level }
func (r *record) WithAttrs([]slog.Attr) slog.Handler           { return r }
func (r *record) WithGroup(string) slog.Handler                { return r }

func (r *record) Handle(_ context.Context, rec slog.Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, rec.Level.String()+" "+rec.Message)
	return nil
}

func (r *record) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	lines := r.lines
	r.lines = nil
	return lines
}

// all holds one event of each type. TestSlogKnowsEachEvent fails if one is missing.
var all = []event.Event{
	event.InstanceAdded{Service: "orders", Instance: "a", Address: "h:1", Weight: 3},
	event.InstanceRemoved{Service: "orders", Instance: "a", Address: "h:1", Why: "w"},
	event.InstanceChanged{Service: "orders", Instance: "a", Address: "h:1", From: event.Eligible, To: event.Failed, Why: "w"},
	event.InstanceProblem{Service: "orders", Instance: "a", What: "w"},
	event.HealthUnknown{Service: "orders", Instance: "a", Err: errors.New("e")},
	event.AttemptRetried{Service: "orders", Method: "/o.O/G", Instance: "a", Attempt: 1, Cause: errors.New("c"), Wait: time.Second},
	event.RetryDenied{Service: "orders", Method: "/o.O/G", Instance: "a", Attempt: 1, Why: event.BudgetEmpty, Cause: errors.New("c")},
	event.CallRejected{Service: "orders", Method: "/o.O/G", Err: errors.New("e")},
	event.AttemptHedged{Service: "orders", Method: "/o.O/G", Instance: "a", Attempt: 2, After: time.Second},
	event.CallServedSecondBest{Service: "orders", Method: "/o.O/G", By: event.StaleCache, Age: time.Second, Cause: errors.New("c")},
	event.NotificationDropped{Service: "orders", Method: "/o.O/G", Err: errors.New("e")},
	event.LimitNear{Service: "orders", Scope: "client", InFlight: 80, Limit: 100},
	event.InstanceYields{Service: "orders", Instance: "a", Share: 0.5, For: time.Second},
	event.ServiceBreakerChanged{Service: "orders", Open: true, DryRun: true, Why: "w"},
	event.MethodBreakerChanged{Service: "orders", Method: "/o.O/G", From: "closed", To: "open", DryRun: true, Why: "w"},
	event.InstanceWouldChange{Service: "orders", Instance: "a", Address: "h:1", From: "closed", To: "open", Why: "w"},
	event.PriorityChanged{Service: "orders", From: 3, To: 7, Why: "w"},
	event.SourceDegraded{Service: "orders", Datacenter: "eu", Err: errors.New("e"), Known: 2},
	event.SourceRecovered{Service: "orders", Datacenter: "eu", After: time.Second},
	event.SnapshotProblem{Service: "orders", Datacenter: "eu", Err: errors.New("e")},
	event.RegistrationDegraded{Service: "orders", Instance: "a", Err: errors.New("e")},
	event.RegistrationRecovered{Service: "orders", Instance: "a", After: time.Second},
	event.LifecycleStep{Service: "orders", Step: "deregister", Took: time.Second, Err: errors.New("e")},
	event.ProtectionSwitched{Service: "orders", Protection: "retry", Off: true, By: "code"},
	event.PolicyApplied{Service: "orders", Layer: "owner", Source: "file"},
	event.PolicyRefused{Service: "orders", Layer: "caller", Source: "file", Err: errors.New("e")},
	event.ConfigWarning{Service: "orders", What: "w"},
}

func TestSlogKnowsEachEvent(t *testing.T) {
	var have []string
	for _, e := range all {
		have = append(have, reflect.TypeOf(e).Name())
	}
	slices.Sort(have)
	if declared := declaredEvents(t); !slices.Equal(have, declared) {
		t.Errorf("this test has %q, the package %q", have, declared)
	}
	for _, e := range all {
		var out bytes.Buffer
		event.Slog(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})))(e)
		name := reflect.TypeOf(e).Name()
		if !strings.Contains(out.String(), " event="+snake(name)+" ") || !strings.Contains(out.String(), " service=orders ") {
			t.Errorf("%s is logged as %q", name, out.String())
		}
		for i := range reflect.TypeOf(e).NumField() {
			field, value := reflect.TypeOf(e).Field(i).Name, fmt.Sprint(reflect.ValueOf(e).Field(i))
			if field != "Open" && field != "Off" && !strings.Contains(out.String(), value) {
				t.Errorf("%s: field %s (%s) is not in %q", name, field, value, out.String())
			}
		}
	}
}

// declaredEvents returns the types that have the method event.
func declaredEvents(t *testing.T) []string {
	file, err := parser.ParseFile(token.NewFileSet(), "event.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, d := range file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Recv != nil && f.Name.Name == "event" {
			names = append(names, f.Recv.List[0].Type.(*ast.Ident).Name)
		}
	}
	slices.Sort(names)
	return names
}

// snake turns "InstanceAdded" into "instance_added".
func snake(name string) string {
	var b strings.Builder
	for i, r := range name {
		if i > 0 && r >= 'A' && r <= 'Z' {
			b.WriteByte('_')
		}
		b.WriteRune(r)
	}
	return strings.ToLower(b.String())
}

func TestSlogLevels(t *testing.T) {
	changed := func(to event.State) event.Event { return event.InstanceChanged{From: event.Eligible, To: to} }
	for _, tc := range []struct {
		event event.Event
		want  string
	}{
		{changed(event.Connecting), "DEBUG instance is connecting"},
		{changed(event.Eligible), "INFO instance is eligible"},
		{changed(event.Absent), "INFO instance is absent"},
		{changed(event.Ejected), "WARN instance is ejected"},
		{changed(event.Overruled), "WARN instance is overruled"},
		{changed(event.Failed), "WARN instance is failed"},
		{event.ServiceBreakerChanged{Open: true}, "ERROR service breaker opened"},
		{event.ServiceBreakerChanged{}, "INFO service breaker closed"},
		{event.SourceDegraded{Known: 1}, "WARN source has no sure answer"},
		{event.SourceDegraded{}, "ERROR source has no sure answer"},
		{event.LifecycleStep{}, "INFO step of a server's life"},
		{event.LifecycleStep{Err: errors.New("e")}, "WARN step of a server's life"},
	} {
		r := &record{level: slog.LevelDebug}
		event.Slog(slog.New(r))(tc.event)
		if got := r.take(); !slices.Equal(got, []string{tc.want}) {
			t.Errorf("%+v: %q, want %q", tc.event, got, tc.want)
		}
	}
}

func TestSlogInAStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &record{}
		handle := event.Slog(slog.New(r))
		times := func(n int, e event.Event) {
			for range n {
				handle(e)
			}
		}
		orders, payments := event.AttemptRetried{Service: "orders"}, event.AttemptRetried{Service: "payments"}

		times(1000, orders)
		times(3, payments)
		handle(event.RetryDenied{Service: "orders"})
		if got := r.take(); len(got) != 10+3+1 {
			t.Fatalf("%d lines of 3 streams, want 14: %q", len(got), got)
		}

		time.Sleep(time.Second - 1)
		times(244, orders)
		if got := r.take(); len(got) != 0 {
			t.Fatalf("still in the second: %q", got)
		}

		time.Sleep(1)
		handle(payments) // a different stream tells what became of the other
		want := []string{"INFO … and 1234 more attempt_retried in 1s", "INFO attempt failed, another follows"}
		if got := r.take(); !slices.Equal(got, want) {
			t.Fatalf("after the second: %q, want %q", got, want)
		}

		times(10, orders)
		if got := r.take(); len(got) != 10 {
			t.Fatalf("a new second: %d lines, want 10", len(got))
		}
		time.Sleep(time.Hour)
		handle(orders)
		if got := r.take(); len(got) != 1 {
			t.Errorf("nothing was left out, yet: %q", got)
		}
	})
}

// Lines that nobody would see are neither counted nor told of.
func TestSlogBelowTheLevel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &record{level: slog.LevelWarn}
		handle := event.Slog(slog.New(r))
		for range 100 {
			handle(event.InstanceAdded{})
		}
		time.Sleep(2 * time.Second)
		handle(event.ConfigWarning{})
		if got := r.take(); len(got) != 1 {
			t.Errorf("%q", got)
		}
	})
}

// Whatever the load, each event is either written or counted.
func TestSlogAccountsForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		handle := event.Slog(slog.New(slog.NewTextHandler(&out, nil)))
		const workers, each = 8, 400
		var wg sync.WaitGroup
		for worker := range workers {
			wg.Go(func() {
				for n := range each {
					handle(event.CallRejected{Service: fmt.Sprint("s", worker%3)})
					time.Sleep(time.Duration(n%7) * time.Millisecond)
				}
			})
		}
		wg.Wait()
		time.Sleep(2 * time.Second)
		handle(event.ConfigWarning{})
		sum := 0
		for text := range strings.Lines(out.String()) {
			leftOut := 0
			if _, counted, ok := strings.Cut(text, "left_out="); ok {
				if _, err := fmt.Sscan(counted, &leftOut); err != nil {
					t.Fatal(err)
				}
				sum += leftOut
			} else if strings.Contains(text, "call_rejected") {
				sum++
			}
		}
		if sum != workers*each {
			t.Errorf("%d of %d events accounted for", sum, workers*each)
		}
	})
}

func TestSlogKeepsSecrets(t *testing.T) {
	const secret = "b1gs3cret"
	for _, text := range []string{
		"Get https://consul/v1/x?token=" + secret + "&stale=",
		"dial https://user:" + secret + "@consul:8501/: refused",
		"dial https://" + secret + "@consul:8501/: refused",
		"header X-Consul-Token: " + secret,
		"Authorization: Bearer " + secret,
		`{"password": "` + secret + `"}`,
		"CONSUL_HTTP_TOKEN=" + secret,
		strings.Repeat("x", 485) + " token=" + secret, // cut inside the secret
	} {
		for _, e := range []event.Event{
			event.SourceDegraded{Err: errors.New(text)},
			event.RetryDenied{Cause: fmt.Errorf("outer: %w", errors.New(text))},
			event.InstanceChanged{Why: text},
			event.InstanceProblem{What: text},
		} {
			var out bytes.Buffer
			event.Slog(slog.New(slog.NewTextHandler(&out, nil)))(e)
			if strings.Contains(out.String(), secret[:4]) {
				t.Errorf("%q is logged as %q", text, out.String())
			}
		}
	}
	var out bytes.Buffer
	event.Slog(slog.New(slog.NewTextHandler(&out, nil)))(event.CallRejected{Err: errors.New(strings.Repeat("é", 5000))})
	if out.Len() > 700 || strings.Contains(out.String(), "\uFFFD") {
		t.Errorf("a long text is logged as %d bytes: %q", out.Len(), out.String())
	}
}

func BenchmarkSlogInAStorm(b *testing.B) {
	handle := event.Slog(slog.New(&record{}))
	var e event.Event = event.AttemptRetried{Service: "orders", Method: "/o.O/G", Instance: "a", Attempt: 1, Cause: errors.New("c")}
	b.ReportAllocs()
	for b.Loop() {
		handle(e)
	}
}

func TestDescribe(t *testing.T) {
	for _, test := range []struct {
		event event.Event
		want  event.Description
	}{
		{
			event.InstanceChanged{Service: "orders", Instance: "a", Address: "h:1", From: event.Eligible, To: event.Ejected, Why: "5 in a row; token=abc"},
			event.Description{
				Level: slog.LevelWarn, Kind: "instance_changed", Service: "orders", Instance: "a",
				Text: "instance is ejected (address h:1, from eligible, to ejected, why 5 in a row; token=***)",
			},
		},
		{
			event.ServiceBreakerChanged{Service: "orders", Open: true},
			event.Description{Level: slog.LevelError, Kind: "service_breaker_changed", Service: "orders", Text: "service breaker opened"},
		},
	} {
		if got := event.Describe(test.event); got != test.want {
			t.Errorf("%+v, want %+v", got, test.want)
		}
	}
}
