package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/surecall/surecall/status"
)

// grafanaBoard is what the tests read of surecall.json.
type grafanaBoard struct {
	Panels      []grafanaPanel
	Annotations struct {
		List []struct{ Name, Expr string }
	}
	Templating struct {
		List []struct {
			Name, Type string
			Definition string
		}
	}
}

type grafanaPanel struct {
	ID                       int
	Type, Title, Description string
	GridPos                  struct{ X, Y, W, H int }
	Targets                  []struct{ RefID, Expr, LegendFormat string }
	Panels                   []grafanaPanel
	FieldConfig              struct {
		Defaults struct{ Unit string }
	}
}

func readBoard(t *testing.T) (b grafanaBoard) {
	t.Helper()
	text, err := os.ReadFile("surecall.json")
	if err == nil {
		err = json.Unmarshal(text, &b)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// all returns the panels with queries, those of closed rows too.
func (b *grafanaBoard) all() (panels []grafanaPanel) {
	for _, p := range b.Panels {
		if p.Type != "row" {
			panels = append(panels, p)
		}
		panels = append(panels, p.Panels...)
	}
	return panels
}

func (b *grafanaBoard) rows() (rows []grafanaPanel) {
	for _, p := range b.Panels {
		if p.Type == "row" {
			rows = append(rows, p)
		}
	}
	return rows
}

type alertRule struct {
	Alert, Expr, For    string
	Labels, Annotations map[string]string
}

func readRules(t *testing.T) (rules []alertRule) {
	t.Helper()
	var file struct {
		Groups []struct{ Rules []alertRule }
	}
	text, err := os.ReadFile("rules.yml")
	if err == nil {
		err = yaml.Unmarshal(text, &file)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range file.Groups {
		rules = append(rules, g.Rules...)
	}
	return rules
}

func TestTheFileIsWhatTheTableSays(t *testing.T) {
	want, err := render(board())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile("surecall.json"); err != nil || !bytes.Equal(got, want) {
		t.Errorf("surecall.json is not what the panels say (%v): go run . in dashboards/", err)
	}
}

// Grafana draws panels that overlap, or have one ID, in ways that nobody means.
func TestPanelsAreLaidOut(t *testing.T) {
	b := readBoard(t)
	ids, titles, taken := map[int]bool{}, map[string]bool{}, map[[2]int]string{}
	for _, p := range append(b.rows(), b.all()...) {
		if ids[p.ID] || titles[p.Title] {
			t.Errorf("%q: its title, or its ID, is there twice", p.Title)
		}
		ids[p.ID], titles[p.Title] = true, true
	}
	for _, p := range b.all() {
		if len(p.Targets) == 0 || p.FieldConfig.Defaults.Unit == "" || len(p.Description) < 60 || !strings.HasSuffix(p.Description, ".") {
			t.Errorf("%q has queries %d, unit %q, description %q: want all, and the last to say what to do", p.Title, len(p.Targets), p.FieldConfig.Defaults.Unit, p.Description)
		}
		for x := range p.GridPos.W {
			for y := range p.GridPos.H {
				at := [2]int{p.GridPos.X + x, p.GridPos.Y + y}
				if taken[at] != "" || at[0] >= 24 {
					t.Fatalf("%q lies on %q, or beyond the edge, at %v", p.Title, taken[at], at)
				}
				taken[at] = p.Title
			}
		}
	}
}

// A legend can only name labels that the query keeps.
func TestLegendsNameLabelsThatAreKept(t *testing.T) {
	b := readBoard(t)
	for _, p := range b.all() {
		for _, q := range p.Targets {
			for _, label := range regexp.MustCompile(`{{(\w+)}}`).FindAllStringSubmatch(q.LegendFormat, -1) {
				if !regexp.MustCompile(`by \([^)]*\b` + label[1] + `\b`).MatchString(q.Expr) {
					t.Errorf("%q %s: the legend names %s, which the query has not", p.Title, q.RefID, label[1])
				}
			}
			if p.Type != "table" && q.LegendFormat == "" {
				t.Errorf("%q %s: no legend", p.Title, q.RefID)
			}
		}
	}
}

// expressions returns all PromQL of the dashboard and of the rules, by where it stands.
func expressions(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	b := readBoard(t)
	for _, p := range b.all() {
		for _, q := range p.Targets {
			all[p.Title+"/"+q.RefID] = q.Expr
		}
	}
	for _, a := range b.Annotations.List {
		all["annotation "+a.Name] = a.Expr
	}
	for _, v := range b.Templating.List {
		if v.Type == "query" {
			all["variable "+v.Name] = v.Definition
		}
	}
	for _, r := range readRules(t) {
		all[r.Alert] = r.Expr
	}
	return all
}

var (
	metricName = regexp.MustCompile(`surecall_client_[a-z_]+`)
	selector   = regexp.MustCompile(`(surecall_client_[a-z_]+)\{([^}]*)\}`)
	labelName  = regexp.MustCompile(`(\w+)\s*(?:=~|!~|!=|=)`)
	anyLabel   = regexp.MustCompile(`\b(surecall_(?:[a-z]+)|rpc_[a-z_]+)\b`)
)

// Whatever a query names is a metric of the table, and a label that it has; and there is no
// metric that nobody looks at.
func TestQueriesNameWhatThereIs(t *testing.T) {
	labels, shown := map[string][]string{}, map[string]bool{}
	every := []string{"job", "instance", "surecall_client"}
	for _, m := range status.Metrics() {
		own := []string{"job", "instance", "surecall_client"}
		for _, a := range m.Attributes {
			own = append(own, status.Underscored(a))
		}
		labels[m.Prometheus()] = own
		every = append(every, own...)
	}
	for where, expr := range expressions(t) {
		for _, name := range metricName.FindAllString(expr, -1) {
			if labels[name] == nil && name != "surecall_client" {
				t.Errorf("%s: there is no %s", where, name)
			}
			shown[name] = true
		}
		for _, s := range selector.FindAllStringSubmatch(expr, -1) {
			for _, l := range labelName.FindAllStringSubmatch(s[2], -1) {
				if !slices.Contains(labels[s[1]], l[1]) {
					t.Errorf("%s: %s has no label %s", where, s[1], l[1])
				}
			}
		}
		for _, l := range anyLabel.FindAllString(metricName.ReplaceAllString(expr, ""), -1) {
			if !slices.Contains(every, l) {
				t.Errorf("%s: no metric has a label %s", where, l)
			}
		}
	}
	for name := range labels {
		if !shown[name] {
			t.Errorf("nobody looks at %s", name)
		}
	}
}

func TestAlertsSayWhatToDo(t *testing.T) {
	guide, err := os.ReadFile("../docs/troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	anchors := map[string]bool{}
	for _, h := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(string(guide), -1) {
		anchor := regexp.MustCompile(`[^a-z0-9_ -]`).ReplaceAllString(strings.ToLower(h[1]), "")
		anchors[strings.ReplaceAll(anchor, " ", "-")] = true
	}
	for _, r := range readRules(t) {
		if !strings.HasPrefix(r.Alert, "Surecall") || r.For == "" || !slices.Contains([]string{"critical", "warning", "info"}, r.Labels["severity"]) {
			t.Errorf("%s: for %q, severity %q", r.Alert, r.For, r.Labels["severity"])
		}
		if !strings.Contains(r.Annotations["summary"], "{{ $value") || len(r.Annotations["description"]) < 80 {
			t.Errorf("%s: summary %q and description %q: want the value, and the remedy", r.Alert, r.Annotations["summary"], r.Annotations["description"])
		}
		page, anchor, _ := strings.Cut(r.Annotations["runbook_url"], "#")
		if page != "https://github.com/surecall/surecall/blob/main/docs/troubleshooting.md" || !anchors[anchor] {
			t.Errorf("%s: no runbook %q", r.Alert, r.Annotations["runbook_url"])
		}
	}
}

// Prometheus' own tool runs the cases, and each alert has one that raises it.
func TestRules(t *testing.T) {
	promtool := toolPath(t)
	files, err := filepath.Glob("*.test.yml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	var cases []byte
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		cases = append(cases, text...)
	}
	for _, r := range readRules(t) {
		if !bytes.Contains(cases, []byte(`{alertname="`+r.Alert+`"}`)) {
			t.Errorf("%s: no case raises it", r.Alert)
		}
	}
	for _, args := range [][]string{{"check", "config", "prometheus.yml"}, append([]string{"test", "rules"}, files...)} {
		if out, err := exec.CommandContext(t.Context(), promtool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, out)
		}
	}
}

// toolPath returns promtool, beside PROMETHEUS_BIN or in the PATH.
func toolPath(t *testing.T) string {
	t.Helper()
	tool := filepath.Join(filepath.Dir(prometheusPath(t)), "promtool")
	if _, err := os.Stat(tool); err != nil {
		if tool, err = exec.LookPath("promtool"); err != nil {
			t.Fatal(err)
		}
	}
	return tool
}
