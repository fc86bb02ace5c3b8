// Command dashboards writes surecall.json, the Grafana dashboard, from the table of its
// panels in panels_*.go: run it in its folder after a change of them.
//
//	go run .
//
// rules.yml, Prometheus' alert rules, is written by hand. Both go by the names of
// status.Metrics, which Prometheus has from the status page's /metrics and from
// OpenTelemetry's exporters alike. README.md says how to install them.
package main

import (
	"fmt"
	"os"
)

func main() {
	text, err := render(board())
	if err == nil {
		err = os.WriteFile("surecall.json", text, 0o644) //nolint:gosec // as Git has it
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "dashboards:", err)
		os.Exit(1)
	}
}

// row is a headline and the panels under it.
type row struct {
	title  string
	closed bool // until somebody opens it: its queries cost nothing before
	panels []panel
}

// panel is one panel.
type panel struct {
	title    string
	kind     string // of Grafana: "timeseries", "stat", "table"; empty: "timeseries"
	describe string // what it shows, and what to do about it
	unit     string // of Grafana
	width    int    // of 24; 0: 8
	stack    bool
	share    bool              // from 0 to 1
	right    string            // the unit of the last query, if that is on an axis at the right
	colors   map[string]string // of series, by their legend
	queries  []query
}

// query is one query of a panel.
type query struct {
	expr, legend string
}

// board returns all rows, the ones first that are looked at first.
func board() []row {
	return []row{calls(), retries(), instances(), limits(), source(), each()}
}
