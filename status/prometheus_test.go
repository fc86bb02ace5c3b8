package status_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/surecall/surecall/status"
)

// exposed returns the text of all, after a strict look at it.
func exposed(t testing.TB, all []status.Status, perInstance bool) map[string]float64 {
	t.Helper()
	var b bytes.Buffer
	if err := status.WritePrometheus(&b, all, perInstance); err != nil {
		t.Fatal(err)
	}
	samples, err := parse(b.String())
	if err != nil {
		t.Fatalf("%v in:\n%s", err, b.String())
	}
	return samples
}

func TestWritePrometheus(t *testing.T) {
	s := status.Status{
		Service: "orders",
		Source:  status.Source{Answered: true, Trusted: true, Age: 1.5, Instances: 2},
		Instances: []status.Instance{
			{ID: "b", State: "eligible", Eligible: true, Weight: 10, Latency: 0.25, SlowStart: 0.5, Share: 0.5},
			{ID: "a", State: "ejected", Breaker: &status.Breaker{State: "open"}},
		},
		Methods: []status.Method{{
			Name: "/orders.v1.Orders/Get", Calls: map[string]uint64{"OK": 7, "UNAVAILABLE": 1}, Attempts: 9, Waited: 0.5,
			P50: 0.001, P95: 0.002, P99: 0.003, Retries: map[string]uint64{"attempt timeout": 1},
		}},
	}
	samples := exposed(t, []status.Status{s}, true)
	for series, want := range map[string]float64{
		`surecall_client_calls_total{surecall_service="orders",rpc_method="orders.v1.Orders/Get",rpc_response_status_code="OK"}`:          7,
		`surecall_client_calls_total{surecall_service="orders",rpc_method="orders.v1.Orders/Get",rpc_response_status_code="UNAVAILABLE"}`: 1,
		`surecall_client_retries_total{surecall_service="orders",rpc_method="orders.v1.Orders/Get",surecall_reason="attempt timeout"}`:    1,
		`surecall_client_wait_time_seconds_total{surecall_service="orders",rpc_method="orders.v1.Orders/Get"}`:                            0.5,
		`surecall_client_latency_seconds{surecall_service="orders",rpc_method="orders.v1.Orders/Get",surecall_quantile="0.99"}`:           0.003,
		`surecall_client_instances{surecall_service="orders",surecall_state="eligible"}`:                                                  1,
		`surecall_client_instances{surecall_service="orders",surecall_state="draining"}`:                                                  0,
		`surecall_client_breakers_open{surecall_service="orders",surecall_of="instance"}`:                                                 1,
		`surecall_client_source_age_seconds{surecall_service="orders"}`:                                                                   1.5,
		`surecall_client_instance_share{surecall_service="orders",surecall_instance="b"}`:                                                 0.25,
		`surecall_client_instance_eligible{surecall_service="orders",surecall_instance="a"}`:                                              0,
	} {
		if got, ok := samples[series]; !ok || got != want {
			t.Errorf("%s = %v, there: %v; want %v", series, got, ok, want)
		}
	}
	for series := range exposed(t, []status.Status{s}, false) {
		if strings.Contains(series, "surecall_instance") {
			t.Errorf("%s, which is opt-in", series)
		}
	}
}

// What a metric's doc says is one line that says it all, for it stands alone wherever it is
// shown, and has nothing to escape.
func TestHelpIsPlain(t *testing.T) {
	for _, m := range status.Metrics() {
		if first, _, _ := strings.Cut(m.Help, " "); slices.Contains([]string{"", "Of", "It", "Its", "What", "That"}, first) || len(m.Help) < 12 ||
			strings.ContainsAny(m.Help, "\\\n\r") {
			t.Errorf("%s: help %q", m.Name, m.Help)
		}
	}
}

// The text does not depend on the order of what a client holds, nor on that of maps.
func TestWritePrometheusIsDeterministic(t *testing.T) {
	all := sample(2, 20)
	var one, two bytes.Buffer
	if err := status.WritePrometheus(&one, all, true); err != nil {
		t.Fatal(err)
	}
	for i := range all {
		for a, b := 0, len(all[i].Instances)-1; a < b; a, b = a+1, b-1 {
			all[i].Instances[a], all[i].Instances[b] = all[i].Instances[b], all[i].Instances[a]
		}
	}
	if err := status.WritePrometheus(&two, all, true); err != nil {
		t.Fatal(err)
	}
	if one.String() != two.String() {
		t.Errorf("the instances in another order give another text:\n%s\n%s", one.String(), two.String())
	}
}

// A counter that begins at 1 has not risen, for Prometheus: the first ejection would not show.
func TestTransitionsBeginAtNone(t *testing.T) {
	one := status.Transition{Of: "instance", To: "ejected", Count: 1}
	samples := exposed(t, []status.Status{{Transitions: []status.Transition{one}}}, false)
	for to, want := range map[string]float64{
		`surecall_of="instance",surecall_state="ejected"`:       1,
		`surecall_of="instance",surecall_state="failed"`:        0,
		`surecall_of="method breaker",surecall_state="open"`:    0,
		`surecall_of="service breaker",surecall_state="closed"`: 0,
	} {
		series := `surecall_client_transitions_total{surecall_service="",` + to + `}`
		if got, ok := samples[series]; !ok || got != want {
			t.Errorf("%s = %v, there: %v; want %v", series, got, ok, want)
		}
	}
}

// What is not known has no series: 0 would be the best that there is.
func TestUnknownIsNotZero(t *testing.T) {
	for series := range exposed(t, []status.Status{{Service: "orders", Methods: []status.Method{{Name: "/x.Y/Z"}}}}, false) {
		if strings.HasPrefix(series, "surecall_client_latency_seconds") || strings.HasPrefix(series, "surecall_client_source_age_seconds") {
			t.Errorf("%s, of a client whose source has not answered, and that has made no attempt", series)
		}
	}
}

// Prometheus refuses a scrape with two series that have the same labels.
func TestClientsOfOneServiceAreToldApart(t *testing.T) {
	of := func(service string, calls uint64) status.Status {
		return status.Status{Service: service, Methods: []status.Method{{Name: "/x.Y/Z", Attempts: calls}}}
	}
	samples := exposed(t, []status.Status{of("orders", 1), of("users", 2), of("orders", 3), of("orders", 4)}, false)
	for labels, want := range map[string]float64{
		`surecall_service="orders",`:                     1,
		`surecall_service="users",`:                      2,
		`surecall_service="orders",surecall_client="2",`: 3,
		`surecall_service="orders",surecall_client="3",`: 4,
	} {
		if got := samples[`surecall_client_attempts_total{`+labels+`rpc_method="x.Y/Z"}`]; got != want {
			t.Errorf("{%s}: %v; want %v", labels, got, want)
		}
	}
}

// Whatever is in a status, the text parses, and what a label holds is what was put in.
func TestHostileLabels(t *testing.T) {
	for value, want := range map[string]string{
		`a"b\c`:                    `a"b\c`,
		"line\nline":               "line\nline",
		"# HELP x\n# TYPE y\r\n{}": "# HELP x\n# TYPE y\r\n{}",
		"\xff\xfeA":                "\uFFFD\uFFFDA",
		"\xffA\xfe":                "\uFFFDA\uFFFD",
		"NUL\x00":                  "NUL\uFFFD",
		"":                         "",
		`\`:                        `\`,
	} {
		samples := exposed(t, []status.Status{{Service: value, Methods: []status.Method{{Name: value, Attempts: 3}}}}, false)
		series := fmt.Sprintf(`surecall_client_attempts_total{surecall_service="%s",rpc_method="%s"}`, want, want)
		if got, ok := samples[series]; !ok || got != 3 {
			t.Errorf("%q: no %q in %v", value, series, samples)
		}
	}
}

func TestSameLabelsWithinOneClient(t *testing.T) {
	samples := exposed(t, []status.Status{{
		Service: "orders",
		Methods: []status.Method{{Name: "/x.Y/\xff", Attempts: 3}, {Name: "/x.Y/\xfe", Attempts: 4}},
		Limits:  []status.Limit{{Scope: "client", Limit: 5}, {Scope: "client", Limit: 6}},
	}}, false)
	if got := samples[`surecall_client_attempts_total{surecall_service="orders",rpc_method="x.Y/`+"\uFFFD"+`"}`]; got != 7 {
		t.Errorf("counters: %v; want their sum", got)
	}
	if got := samples[`surecall_client_limit_max{surecall_service="orders",surecall_scope="client"}`]; got != 6 {
		t.Errorf("gauges: %v; want the last one", got)
	}
}

func TestValuesThatAreNoNumbers(t *testing.T) {
	for value, want := range map[float64]string{math.Inf(1): "+Inf", math.Inf(-1): "-Inf", math.NaN(): "NaN", 1e300: "1e+300"} {
		var b bytes.Buffer
		if err := status.WritePrometheus(&b, []status.Status{{Budget: status.Budget{Tokens: value}}}, false); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(b.String(), "surecall_client_budget_tokens{surecall_service=\"\"} "+want+"\n") {
			t.Errorf("%v is not %s in:\n%s", value, want, b.String())
		}
	}
}

var errFull = errors.New("full")

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errFull }

func TestWritePrometheusTellsOfItsWriter(t *testing.T) {
	if err := status.WritePrometheus(full{}, sample(1, 1), true); !errors.Is(err, errFull) {
		t.Errorf("%v; want %v", err, errFull)
	}
}

func FuzzWritePrometheus(f *testing.F) {
	f.Add("orders", "/orders.v1.Orders/Get", "a-1", "a-2", "budget empty", 0.5, uint64(3))
	f.Add("a\"b\\", "\n", "\xff", "\xfe", "\x00", math.NaN(), uint64(math.MaxUint64))
	f.Add("", "", "", "", "", math.Inf(-1), uint64(0))
	f.Fuzz(func(t *testing.T, service, method, one, two, reason string, value float64, count uint64) {
		s := status.Status{
			Service:   service,
			Source:    status.Source{Answered: true, Age: value},
			Instances: []status.Instance{{ID: one, State: reason, Latency: value}, {ID: two, State: "eligible", Latency: value}},
			Methods: []status.Method{
				{Name: method, Calls: map[string]uint64{reason: count, one: count}, Denied: map[string]uint64{two: count}, Waited: value, P99: value},
				{Name: one, Retries: map[string]uint64{reason: count, two: count}, Attempts: count},
				{Name: two, Rejected: map[string]uint64{one: count, reason: count}, SecondBest: map[string]uint64{"": count}},
			},
			Budget:      status.Budget{Tokens: value},
			Limits:      []status.Limit{{Scope: one}, {Scope: two, Limit: -1}},
			Disabled:    []string{one, two, reason},
			Policies:    []status.Policy{{Layer: one, Refused: two}, {Layer: two}},
			Transitions: []status.Transition{{Of: one, To: reason, Count: count}, {Of: two, To: reason, Count: count}},
		}
		other := s
		other.Service = one
		samples := exposed(t, []status.Status{s, other, s}, true)
		want := fmt.Sprintf("surecall_client_in_flight{surecall_service=%q}", "X")
		if utf8.ValidString(service) && !strings.ContainsRune(service, 0) {
			if _, ok := samples[strings.Replace(want, "X", service, 1)]; !ok {
				t.Errorf("no series of service %q", service)
			}
		}
	})
}

// sample is what so many clients of so many instances each hold.
func sample(clients, instances int) []status.Status {
	all := make([]status.Status, clients)
	for c := range all {
		s := &all[c]
		s.Service = fmt.Sprintf("service-%02d", c)
		for i := range instances {
			s.Instances = append(s.Instances, status.Instance{
				ID: fmt.Sprintf("service-%02d-instance-%04d", c, i), State: "eligible", Eligible: true, Weight: 10, Latency: 0.001, SlowStart: 1, Share: 1,
			})
		}
		for m := range 20 {
			s.Methods = append(s.Methods, status.Method{
				Name: fmt.Sprintf("/package.v1.Service/Method%02d", m), Calls: map[string]uint64{"OK": 1e6, "UNAVAILABLE": 17},
				Attempts: 1e6 + 40, Retries: map[string]uint64{"UNAVAILABLE": 30}, P50: 0.001, P95: 0.002, P99: 0.003,
			})
		}
	}
	return all
}

func BenchmarkWritePrometheus(b *testing.B) {
	for _, perInstance := range []bool{false, true} {
		b.Run(fmt.Sprintf("clients=10/instances=1000/series=%v", perInstance), func(b *testing.B) {
			all := sample(10, 1000)
			var size countingWriter
			if err := status.WritePrometheus(&size, all, perInstance); err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if err := status.WritePrometheus(io.Discard, all, perInstance); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

type countingWriter int

func (c *countingWriter) Write(p []byte) (int, error) {
	*c += countingWriter(len(p))
	return len(p), nil
}
