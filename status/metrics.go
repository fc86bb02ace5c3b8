package status

import (
	"slices"
	"strings"
)

// Metric is one line of the table of metrics.
type Metric struct {
	Name       string   // as OpenTelemetry has it, "surecall.client.calls"
	Unit       string   // of UCUM: "s", or a thing that is counted, "{call}"
	Counter    bool     // it only rises; else it is a gauge
	Help       string   // one sentence
	Attributes []string // all it has; their values are bounded by what they name
	Instances  bool     // a series for each instance: opt-in

	values func(s *Status, tell tell)
}

// tell is given a value, and those of the attributes that follow the service's.
type tell func(value float64, attributes ...string)

// Each calls f with each value of m, and the values of m's attributes in their order.
func (m *Metric) Each(s *Status, f func(value float64, attributes []string)) {
	m.values(s, func(v float64, attributes ...string) {
		f(v, append([]string{s.Service}, attributes...))
	})
}

// Prometheus returns m's name as OpenTelemetry's exporters for Prometheus make it.
func (m *Metric) Prometheus() string {
	name := Underscored(m.Name)
	if m.Unit == "s" {
		name += "_seconds"
	}
	if m.Counter {
		name += "_total"
	}
	return name
}

// Underscored returns the name of a metric or an attribute as Prometheus has it.
func Underscored(name string) string { return strings.ReplaceAll(name, ".", "_") }

// The attributes. Method is the full method without its first slash, as the semantic
// conventions have it.
const (
	AttrService    = "surecall.service"
	AttrMethod     = "rpc.method"
	AttrCode       = "rpc.response.status_code"
	AttrReason     = "surecall.reason"
	AttrBy         = "surecall.by"
	AttrQuantile   = "surecall.quantile"
	AttrState      = "surecall.state"
	AttrOf         = "surecall.of"
	AttrScope      = "surecall.scope"
	AttrProtection = "surecall.protection"
	AttrLayer      = "surecall.layer"
	AttrInstance   = "surecall.instance"
	AttrClient     = "surecall.client" // "2" is the second client of the same service in a process; the first has none
)

// Metrics returns the table. Those with a series for each instance come last.
func Metrics() []Metric {
	return slices.Concat(callMetrics(), fleetMetrics(), stateMetrics(), instanceMetrics())
}

func counter(name, unit, help string, attributes []string, values func(*Status, tell)) Metric {
	return Metric{Name: name, Unit: unit, Counter: true, Help: help, Attributes: with(attributes), values: values}
}

func gauge(name, unit, help string, attributes []string, values func(*Status, tell)) Metric {
	return Metric{Name: name, Unit: unit, Help: help, Attributes: with(attributes), values: values}
}

func with(attributes []string) []string { return append([]string{AttrService}, attributes...) }
