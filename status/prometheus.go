package status

import (
	"bufio"
	"bytes"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"unicode/utf8"
)

// PrometheusContentType is what [WritePrometheus] writes.
const PrometheusContentType = "text/plain; version=0.0.4; charset=utf-8"

// WritePrometheus writes the [Metrics] of all clients of a process in Prometheus' text
// format: metrics in the order of the table, the series of each by their labels. Those with
// a series for each instance are left out unless perInstance is true. Names and labels are
// those of [Metric.Prometheus] and [Underscored].
//
// Several clients of one service would have series with the same labels. The second of them
// in all has the label surecall_client="2" therefore, the third "3", and the first none: let
// all be in the same order each time. Sums over them would be wrong: when a client is closed
// they fall, which a rate takes for a restart.
//
// What registries and callers have put into a label is escaped; bytes that are not UTF-8,
// and NUL, which Prometheus refuses, are replaced by U+FFFD. Should labels be the same
// within one client then, counters are added up, and of gauges the last one stands.
func WritePrometheus(w io.Writer, all []Status, perInstance bool) error {
	out := bufio.NewWriter(w) // keeps the first error for Flush
	owners := owners(all)
	var e exposition
	for _, m := range Metrics() {
		if m.Instances && !perInstance {
			continue
		}
		e.collect(&m, all, owners)
		e.write(out, &m)
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("status: writing metrics: %w", err)
	}
	return nil
}

// owners returns the labels that all series of a client have, for each client.
func owners(all []Status) []string {
	owners := make([]string, len(all))
	clients := map[string]int{}
	for i := range all {
		service := string(appendLabel(nil, Underscored(AttrService), all[i].Service))
		clients[service]++
		if n := clients[service]; n > 1 {
			service = string(appendLabel([]byte(service+","), Underscored(AttrClient), strconv.Itoa(n)))
		}
		owners[i] = service
	}
	return owners
}

// exposition is the text of one metric at a time.
type exposition struct {
	labels []byte // of all series, one after the other
	series []series
}

type series struct {
	from, to int // of its labels
	value    float64
}

// collect makes the series of m.
func (e *exposition) collect(m *Metric, all []Status, owners []string) {
	e.labels, e.series = e.labels[:0], e.series[:0]
	names := make([]string, len(m.Attributes))
	for i, a := range m.Attributes {
		names[i] = Underscored(a)
	}
	for i := range all {
		m.values(&all[i], func(value float64, attributes ...string) {
			from := len(e.labels)
			e.labels = append(e.labels, owners[i]...)
			for n, a := range attributes {
				e.labels = appendLabel(append(e.labels, ','), names[n+1], a)
			}
			e.series = append(e.series, series{from: from, to: len(e.labels), value: value})
		})
	}
	slices.SortFunc(e.series, func(a, b series) int {
		return cmp.Or(bytes.Compare(e.of(a), e.of(b)), cmp.Compare(a.from, b.from))
	})
	e.merge(m.Counter)
}

// merge leaves one of each run of series that have the same labels.
func (e *exposition) merge(add bool) {
	kept := e.series[:0]
	for _, s := range e.series {
		last := len(kept) - 1
		if last < 0 || !bytes.Equal(e.of(kept[last]), e.of(s)) {
			kept = append(kept, s)
			continue
		}
		if add {
			s.value += kept[last].value
		}
		kept[last] = s
	}
	e.series = kept
}

func (e *exposition) of(s series) []byte { return e.labels[s.from:s.to] }

// write writes m with its series, and nothing if it has none. Errors are the Flush's.
func (e *exposition) write(w *bufio.Writer, m *Metric) {
	if len(e.series) == 0 {
		return
	}
	name, kind := m.Prometheus(), "gauge"
	if m.Counter {
		kind = "counter"
	}
	_, _ = fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s %s\n", name, m.Help, name, kind)
	for _, s := range e.series {
		line := append(w.AvailableBuffer(), name...)
		line = append(line, '{')
		line = append(line, e.of(s)...)
		line = append(line, "} "...)
		line = strconv.AppendFloat(line, s.value, 'g', -1, 64) // NaN, +Inf and -Inf as Prometheus has them
		_, _ = w.Write(append(line, '\n'))
	}
}

// appendLabel appends name="value".
func appendLabel(b []byte, name, value string) []byte {
	b = append(append(b, name...), '=', '"')
	for _, r := range value { // a byte that is not UTF-8 comes as U+FFFD
		switch r {
		case '\\', '"':
			b = append(b, '\\', byte(r))
		case '\n':
			b = append(b, `\n`...)
		case 0:
			b = utf8.AppendRune(b, utf8.RuneError)
		default:
			b = utf8.AppendRune(b, r)
		}
	}
	return append(b, '"')
}
