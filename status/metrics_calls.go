package status

import (
	"maps"
	"slices"
	"strings"
)

// callMetrics are about calls. Each has a series for each method, of which a client keeps
// 4,096 at most.
func callMetrics() []Metric {
	method := []string{AttrMethod}
	return []Metric{
		counter("surecall.client.calls", "{call}", "Calls that have ended.", []string{AttrMethod, AttrCode},
			byKey(func(m *Method) map[string]uint64 { return m.Calls })),
		counter("surecall.client.attempts", "{attempt}", "Attempts of calls that have ended, each on one instance.", method,
			perMethod(func(m *Method) float64 { return float64(m.Attempts) })),
		counter("surecall.client.retries", "{attempt}", "Attempts that followed one that failed, by how that failed.", []string{AttrMethod, AttrReason},
			byKey(func(m *Method) map[string]uint64 { return m.Retries })),
		counter("surecall.client.retries.denied", "{attempt}", "Attempts that failed and were not followed by another, by what forbade it.", []string{AttrMethod, AttrReason},
			byKey(func(m *Method) map[string]uint64 { return m.Denied })),
		counter("surecall.client.rejections", "{call}", "Calls that were refused before anything was sent, by what refused them.", []string{AttrMethod, AttrReason},
			byKey(func(m *Method) map[string]uint64 { return m.Rejected })),
		counter("surecall.client.hedges", "{attempt}", "Attempts sent beside one that took long.", method,
			perMethod(func(m *Method) float64 { return float64(m.Hedges) })),
		counter("surecall.client.hedges.won", "{attempt}", "Hedges whose answer was the call's.", method,
			perMethod(func(m *Method) float64 { return float64(m.HedgesWon) })),
		counter("surecall.client.second_best", "{call}", "Calls that a cache, an alternate or a fallback answered.", []string{AttrMethod, AttrBy},
			byKey(func(m *Method) map[string]uint64 { return m.SecondBest })),
		counter("surecall.client.waits", "{wait}", "Waits of calls and attempts for a rate, a breaker or a slot.", method,
			perMethod(func(m *Method) float64 { return float64(m.Waits) })),
		counter("surecall.client.wait.time", "s", "Time that calls and attempts waited for a rate, a breaker or a slot.", method,
			perMethod(func(m *Method) float64 { return m.Waited })),
		gauge("surecall.client.latency", "s", "Latency of recent attempts.", []string{AttrMethod, AttrQuantile}, latencies),
	}
}

func latencies(s *Status, tell tell) {
	for i := range s.Methods {
		if m := &s.Methods[i]; m.P99 > 0 {
			tell(m.P50, short(m), "0.5")
			tell(m.P95, short(m), "0.95")
			tell(m.P99, short(m), "0.99")
		}
	}
}

func perMethod(of func(*Method) float64) func(*Status, tell) {
	return func(s *Status, tell tell) {
		for i := range s.Methods {
			tell(of(&s.Methods[i]), short(&s.Methods[i]))
		}
	}
}

func byKey(of func(*Method) map[string]uint64) func(*Status, tell) {
	return func(s *Status, tell tell) {
		for i := range s.Methods {
			counts := of(&s.Methods[i])
			for _, key := range slices.Sorted(maps.Keys(counts)) {
				tell(float64(counts[key]), short(&s.Methods[i]), key)
			}
		}
	}
}

func short(m *Method) string { return strings.TrimPrefix(m.Name, "/") }
