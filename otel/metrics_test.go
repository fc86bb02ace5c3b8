package surecallotel_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	surecallotel "github.com/surecall/surecall/otel"
	"github.com/surecall/surecall/status"
)

// everything is a status that gives every metric of the table a value.
func everything() status.Status {
	open := &status.Breaker{State: "open"}
	return status.Status{
		Service: "orders", At: time.Unix(100, 0), Since: time.Unix(0, 0), Shadow: true, Disabled: []string{"breaker", "retry"},
		Source: status.Source{Instances: 2, Answered: true, Trusted: true, Age: 1.5},
		Instances: []status.Instance{
			{ID: "orders-1", State: "eligible", Eligible: true, InFlight: 3, Latency: .004, Weight: 10, SlowStart: 1, Share: 1},
			{ID: `orders "2"\`, State: "ejected", InFlight: 1, Latency: .9, Weight: 5, SlowStart: .5, Share: .5, Breaker: open},
		},
		Methods: []status.Method{
			{
				Name: "/" + getName, Calls: map[string]uint64{"OK": 90, "UNAVAILABLE": 10}, Attempts: 120,
				Retries: map[string]uint64{"attempt timeout": 3, "UNAVAILABLE": 17}, Denied: map[string]uint64{"budget empty": 2},
				Rejected: map[string]uint64{"service down": 4}, Hedges: 5, HedgesWon: 2, SecondBest: map[string]uint64{"stale cache": 1},
				Waits: 6, Waited: 1.25, P50: .001, P95: .01, P99: .1, Breaker: open,
			},
			{Name: "/" + placeName, Calls: map[string]uint64{"OK": 7}, Attempts: 7},
		},
		InFlight: 4, Streams: 2, ServiceBreaker: open, Budget: status.Budget{Tokens: 8.5, Capacity: 12},
		Limits:        []status.Limit{{Scope: "client", InFlight: 4, Waiting: 1, Limit: 1024}},
		Notifications: status.Notifications{Pending: 1, Sent: 20, Dropped: 3},
		Policies:      []status.Policy{{Layer: "owner", Refused: "deadline -1s: want more than 0"}},
		Transitions:   []status.Transition{{Of: "instance", To: "ejected", Count: 9}},
	}
}

// Each line of the table arrives as it is: name, unit, help, kind, and every value with its
// attributes. Those of instances come only when asked for.
func TestMetricsAreTheTable(t *testing.T) {
	for _, instances := range []bool{false, true} {
		t.Run(fmt.Sprintf("instances %v", instances), func(t *testing.T) {
			to := newTelemetry(sdktrace.AlwaysSample())
			opts := to.options()
			if instances {
				opts = append(opts, surecallotel.WithInstances())
			}
			surecallotel.Export(t, everything, opts...)
			var all metricdata.ResourceMetrics
			if err := to.reader.Collect(t.Context(), &all); err != nil {
				t.Fatal(err)
			}
			exported := map[string]metricdata.Metrics{}
			for _, scope := range all.ScopeMetrics {
				for _, m := range scope.Metrics {
					exported[m.Name] = m
				}
			}
			s := everything()
			for _, m := range status.Metrics() {
				got, ok := exported[m.Name]
				delete(exported, m.Name)
				if want := !m.Instances || instances; ok != want {
					t.Errorf("%s is exported: %v, want %v", m.Name, ok, want)
				}
				if !ok {
					continue
				}
				if got.Unit != m.Unit || got.Description != m.Help {
					t.Errorf("%s: unit %q, %q: want %q, %q", m.Name, got.Unit, got.Description, m.Unit, m.Help)
				}
				if got, want := pointsOf(t, got, m.Counter), wanted(&m, &s); !slices.Equal(got, want) {
					t.Errorf("%s:\n got %q\nwant %q", m.Name, got, want)
				}
			}
			for name := range exported {
				t.Errorf("%s is exported, and not in the table", name)
			}
		})
	}
}

// wanted are the values of m, as pointsOf has them.
func wanted(m *status.Metric, s *status.Status) (points []string) {
	m.Each(s, func(value float64, values []string) {
		var attrs []string
		for n, v := range values {
			attrs = append(attrs, m.Attributes[n]+"="+v)
		}
		slices.Sort(attrs)
		points = append(points, fmt.Sprint(strings.Join(attrs, ","), " ", value))
	})
	slices.Sort(points)
	return points
}

func pointsOf(t *testing.T, m metricdata.Metrics, counter bool) (points []string) {
	t.Helper()
	var data []metricdata.DataPoint[float64]
	switch d := m.Data.(type) {
	case metricdata.Sum[float64]:
		if data = d.DataPoints; !counter || !d.IsMonotonic || d.Temporality != metricdata.CumulativeTemporality {
			t.Errorf("%s is a sum, monotonic %v, %v", m.Name, d.IsMonotonic, d.Temporality)
		}
	case metricdata.Gauge[float64]:
		if data = d.DataPoints; counter {
			t.Errorf("%s is a gauge", m.Name)
		}
	default:
		t.Errorf("%s is a %T", m.Name, m.Data)
	}
	for _, p := range data {
		var attrs []string
		for _, a := range p.Attributes.ToSlice() {
			attrs = append(attrs, string(a.Key)+"="+a.Value.AsString())
		}
		slices.Sort(attrs)
		points = append(points, fmt.Sprint(strings.Join(attrs, ","), " ", p.Value))
	}
	slices.Sort(points)
	return points
}

// Two clients of one service are told apart by an attribute.
func TestAttributesTellClientsApart(t *testing.T) {
	to := newTelemetry(sdktrace.AlwaysSample())
	surecallotel.Export(t, everything, to.options()...)
	surecallotel.Export(t, everything, to.options(surecallotel.WithAttributes(attribute.String(status.AttrClient, "2")))...)
	if got := to.sum(t, "surecall.client.in_flight", status.AttrClient, "2"); got != 4 {
		t.Errorf("the second has %v in flight: want 4", got)
	}
	if got := to.sum(t, "surecall.client.in_flight"); got != 8 {
		t.Errorf("both have %v in flight: want 8", got)
	}
}
