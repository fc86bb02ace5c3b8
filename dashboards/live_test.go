package main

import (
	"fmt"
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/surecall/surecall/internal/consultest"
)

// phase is something that is the matter, or nothing.
type phase struct {
	name    string
	queries []expectation
	alerts  []string // job/alert
}

// expectation is that a query has an answer at some time of a phase.
type expectation struct {
	query string // of the dashboard: "Success, now/A"
	where string // appended to it, "> 0.9"
	label string // one of its series has this as a label's value; with a comma: both
}

// phases are what each query shows, and which alert is raised, while something is the
// matter. All that is there is named at least once: the test looks after that.
var phases = []phase{
	{name: "all is well", queries: []expectation{
		{"Success, now/A", "== 1", ""}, {"Success: callers and instances/A", "== 1", ""}, {"Success: callers and instances/B", "> 0.99", ""},
		{"Calls by code/A", "> 20", "OK"},
		{"Latency, median/A", "> 0", "orders.v1.Orders/Get"}, {"Latency, tail/A", "> 0", "orders.v1.Orders/Get"}, {"Latency, tail/B", "> 0", "orders.v1.Orders/Place"},
		{"Attempts per call/A", "> 0.9 < 1.1", ""},
		{"Budget of retries and hedges/A", "> 5", ""}, {"Budget of retries and hedges/B", "> 5", ""}, {"Budget of retries and hedges/C", "> 0.9", ""},
		{"Instances by state/A", ">= 5", "eligible"}, {"Share that may be picked/A", "== 1", "static"}, {"Share that may be picked/A", "== 1", "orders"},
		{"Breakers open/A", "== 0", "static,service"},
		{"In flight/A", ">= 0", ""}, {"In flight/B", ">= 1", ""},
		{"Known by clients and by the source/A", "== 6", "static"}, {"Known by clients and by the source/B", "== 4", "orders"},
		{"Limits used/A", ">= 0", "client"}, {"Waiting for a slot/A", "== 0", "client"}, {"Waiting for a slot/B", "> 0", "client"},
		{"Source age/A", "< 600", "orders"}, {"Source trusted/A", "== 1", "orders"},
		{"Switched off, or only watched/A", "== 0", "orders"},
		{"Clients that may pick it/A", "== 1", ""}, {"In flight on it/A", ">= 0", ""}, {"Its latency/A", "> 0", ""}, {"Weight that counts/A", "> 0", ""},
		{"variable job", "", "client"}, {"variable service", "", "orders"}, {"variable method", "", "orders.v1.Orders/Get"},
	}},
	{name: "one leaves", queries: []expectation{{"annotation Instances that left", "", "not serving"}, {"Transitions/A", "", "not serving"}}},
	{name: "the source is lost", queries: []expectation{{"Source trusted/A", "== 0", "orders"}},
		alerts: []string{"on-consul/SurecallSourceNotTrusted"}},
	{name: "one instance fails", queries: []expectation{
		{"Breakers open/A", "> 0", "static,instance"}, {"Instances by state/A", "> 0", "ejected"}, {"Transitions/A", "", "ejected"},
		{"annotation Instances and breakers that failed", "", "ejected"},
	}},
	{name: "three instances stand still", queries: []expectation{
		{"Share that may be picked/A", "<= 0.4", "static"}, {"Transitions/A", "", "suspect"},
		{"annotation Instances and breakers that failed", "", "suspect"}, {"Clients that may pick it/A", "< 0.5", ""},
	}, alerts: []string{"client/SurecallManyInstancesNotEligible"}},
	{name: "they are killed", queries: []expectation{
		{"Instances by state/A", ">= 3", "failed"}, {"Rejections by reason/A", "> 0", "no instance"}, {"Success, now/A", "< 0.5", "orders"},
		{"Calls by code/A", "> 1", "UNAVAILABLE"}, {"Calls that fail/A", "", "UNAVAILABLE"},
	}, alerts: []string{"on-consul/SurecallInstanceFailing", "on-consul/SurecallNoEligibleInstance"}},
	{name: "most attempts fail", queries: []expectation{
		{"Retries by reason/A", "> 1", "UNAVAILABLE"}, {"Retries denied by reason/A", "> 0", "not idempotent"}, {"Retries denied by reason/A", "> 0", "budget empty"},
		{"Methods that want an idempotency level/A", "> 0", "orders.v1.Orders/Place"}, {"Attempts per call/A", "> 1.1", "static"},
		{"Success: callers and instances/B", "< 0.6", "static"}, {"Budget of retries and hedges/C", "< 0.5", "static"},
	}, alerts: []string{
		"client/SurecallCallsFailing", "client/SurecallMethodFailing", "client/SurecallManyRetries",
		"client/SurecallRetryBudgetEmpty", "client/SurecallRetriesNotIdempotent",
	}},
	{name: "nothing succeeds", queries: []expectation{
		{"Breakers open/A", "> 0", "static,service"}, {"Rejections by reason/A", "> 0", "service down"}, {"Transitions/A", "", "open"}, {"Success, now/A", "< 0.1", "static"},
	}, alerts: []string{"client/SurecallServiceBreakerOpen"}},
	{name: "all is well again with two instances", queries: []expectation{{"Success, now/A", "== 1", "static"}, {"Breakers open/A", "== 0", "static,service"}}},
	{name: "odd clients", queries: []expectation{
		{"Hedges/A", "> 0", "hedged"}, {"Hedges/B", "> 0", "hedged"}, {"Second best/A", "> 0", "fallback"},
		{"Notifications/A", ">= 0", "notified"}, {"Notifications/B", ">= 0", "notified"}, {"Notifications/C", "> 0", "notified"}, {"Notifications/D", ">= 0", "notified"},
		{"Breakers open/A", "> 0", "half-broken,method"}, {"Rejections by reason/A", "> 0", "rate limit"}, {"Limits used/A", "> 0.8", "limited"},
		{"Waits/A", "> 0", "orders.v1.Orders/Cancel"}, {"Mean wait/A", "> 0", "orders.v1.Orders/Cancel"}, {"Source age/A", "> 1000", "forgotten"},
		{"Switched off, or only watched/A", "> 0", "watched"}, {"Switched off, or only watched/B", "> 0", "breaker"}, {"Policies refused/A", "> 0", "caller"}, {"annotation Policy refused", "", "caller"},
		{"Latency, tail/B", "> 0.2", ""},
	}, alerts: []string{
		"odd/SurecallServedSecondBest", "odd/SurecallNotificationsLost", "odd/SurecallMethodBreakerOpen", "odd/SurecallRejectedByLimit",
		"odd/SurecallLimitNearlyReached", "odd/SurecallSourceOld", "odd/SurecallProtectionOff", "odd/SurecallPolicyRefused",
		"odd/SurecallShadowForLong", "odd/SurecallLatencyHigh", "odd/SurecallInstancesFlapping",
	}},
}

// TestUnderFaults has the real Prometheus scrape the real examples/client, and breaks one
// thing after the other. Time goes faster in its rules: see hasty.
func TestUnderFaults(t *testing.T) {
	rules, err := os.ReadFile("rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	agent := consultest.Start(t)
	consul := "CONSUL_HTTP_ADDR=" + agent.Addr
	clientBinary, serverBinary := build(t, "../examples/client"), build(t, "../examples/server")

	own := []*server{serve(t), serve(t)}
	addresses := []string{own[0].address, own[1].address}
	var processes []*process
	for range 4 {
		p, address := run(t, consul, `msg="lifecycle: online" service=orders address=`, serverBinary, "-listen", "127.0.0.1:0", "-admin", "")
		processes, addresses = append(processes, p), append(addresses, address)
	}
	_, clientAt := run(t, consul, "status page: http://", clientBinary, "-status", "127.0.0.1:0", "-target", "static:///"+strings.Join(addresses, ","))
	_, onConsulAt := run(t, consul, "status page: http://", clientBinary, "-status", "127.0.0.1:0", "-rate", "20")
	odd, oddAt := startOdd(t)
	becomesSlow := []*server{serve(t)}
	odd.add(t, "slow", becomesSlow, get)

	p := startPrometheus(t, hasty(string(rules)),
		target{"client", strings.TrimSuffix(clientAt, "/"), "instances: ['1']"},
		target{"on-consul", strings.TrimSuffix(onConsulAt, "/"), ""}, target{"odd", oddAt, ""})
	w := &watcher{t: t, prometheus: p, queries: expressions(t), seen: map[string]bool{}}

	w.phase("all is well")
	w.quiet()
	signal(t, processes[3:], syscall.SIGTERM)
	w.phase("one leaves")
	agent.Kill()
	w.phase("the source is lost")
	fail(own[:1], 100)
	w.phase("one instance fails")
	fail(own[:1], 0)
	signal(t, processes[:3], syscall.SIGSTOP)
	w.phase("three instances stand still")
	for _, p := range processes {
		p.kill()
	}
	w.phase("they are killed")
	fail(own, 75)
	w.phase("most attempts fail")
	fail(own, 100)
	w.phase("nothing succeeds")
	fail(own, 0)
	w.phase("all is well again with two instances")
	w.over("client/SurecallCallsFailing", "client/SurecallMethodFailing", "client/SurecallServiceBreakerOpen", "client/SurecallManyRetries", "client/SurecallRetryBudgetEmpty")

	for _, s := range becomesSlow {
		s.slow.Store(100)
		s.delay.Store(int64(1500 * time.Millisecond))
	}
	odd.startAll(t, own)
	flapping := []*server{serve(t), serve(t), serve(t)}
	odd.add(t, "flapping", flapping, get)
	var done atomic.Bool
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		flap(t, flapping, &done)
	}()
	w.phase("odd clients")
	done.Store(true)
	<-ended
	w.complete()
}

func signal(t *testing.T, processes []*process, s syscall.Signal) {
	t.Helper()
	for _, p := range processes {
		if err := p.cmd.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
	}
}

func fail(servers []*server, percent int64) {
	for _, s := range servers {
		s.failing.Store(percent)
	}
}

// watcher looks at what Prometheus says.
type watcher struct {
	t          *testing.T
	prometheus *prometheus
	queries    map[string]string // by where they stand
	seen       map[string]bool   // queries and alerts that a phase had
}

// phase waits until all that is expected in it was seen.
func (w *watcher) phase(name string) {
	w.t.Helper()
	at := slices.IndexFunc(phases, func(p phase) bool { return p.name == name })
	p := phases[at]
	met := map[any]bool{} // not all of it lasts
	await(w.t, name, func() string {
		firing, err := w.firing()
		if err != nil {
			return err.Error()
		}
		var missing []string
		for _, e := range p.queries {
			if met[e] {
				continue
			}
			if problem := w.look(e); problem != "" {
				missing = append(missing, problem)
				continue
			}
			met[e], w.seen[e.query] = true, true
		}
		for _, a := range p.alerts {
			if met[a] = met[a] || firing[a]; !met[a] {
				missing = append(missing, "not raised: "+a)
			}
			_, name, _ := strings.Cut(a, "/")
			w.seen[name] = true
		}
		return strings.Join(missing, "\n")
	})
}

// look says what is not as expected; empty: nothing.
func (w *watcher) look(e expectation) string {
	expr, ok := w.queries[e.query]
	if !ok {
		return "no query " + e.query
	}
	if strings.HasPrefix(e.query, "variable ") {
		return w.choice(expr, e)
	}
	samples, err := w.prometheus.query("(" + expand(expr) + ") " + e.where)
	if err != nil {
		return fmt.Sprintf("%s: %v", e.query, err)
	}
	for _, s := range samples {
		if s.has(e.label) {
			return ""
		}
	}
	now, _ := w.prometheus.query(expand(expr))
	return fmt.Sprintf("%s %s %s: %v", e.query, e.where, e.label, now)
}

// has reports whether s has labels of these values.
func (s *sample) has(values string) bool {
	for value := range strings.SplitSeq(values, ",") {
		if value != "" && !slices.Contains(slices.Collect(maps.Values(s.Metric)), value) {
			return false
		}
	}
	return true
}

// choice says whether a variable can be chosen to be e.label.
func (w *watcher) choice(definition string, e expectation) string {
	inner := strings.TrimSuffix(strings.TrimPrefix(definition, "label_values("), ")")
	at := strings.LastIndex(inner, ",")
	var values []string
	err := w.prometheus.get("label/"+strings.TrimSpace(inner[at+1:])+"/values", url.Values{"match[]": {expand(inner[:at])}}, &values)
	if err != nil || !slices.Contains(values, e.label) {
		return fmt.Sprintf("%s: %v, %v; want %s among them", e.query, values, err, e.label)
	}
	return ""
}

// expand puts in what Grafana does, when all is chosen.
func expand(expr string) string {
	return strings.NewReplacer("$job", ".*", "$service", ".*", "$method", ".*", "$__rate_interval", "5s").Replace(expr)
}

// firing returns the alerts that are firing, as job/alert, after a look at their texts.
func (w *watcher) firing() (map[string]bool, error) {
	all, err := w.prometheus.alerts()
	firing := map[string]bool{}
	for _, a := range all {
		if a.State == "firing" {
			firing[a.Labels["job"]+"/"+a.Labels["alertname"]] = true
		}
		for what, text := range a.Annotations {
			if strings.Contains(text, "<no value>") || strings.Contains(text, "{{") || strings.Contains(text, "rror expanding") {
				w.t.Errorf("%s: %s: %q", a.Labels["alertname"], what, text)
			}
		}
	}
	return firing, err
}

// quiet waits until the rules were looked at for longer than they look back, and fails if one
// was ever raised.
func (w *watcher) quiet() {
	w.t.Helper()
	until := time.Now().Add(8 * time.Second)
	await(w.t, "nothing is raised", func() string {
		if err := w.prometheus.evaluated(until); err != nil {
			return err.Error()
		}
		return ""
	})
	if raised := w.raised(); len(raised) > 0 {
		w.t.Fatalf("raised while all is well: %v", raised)
	}
}

// raised returns the alerts that were ever firing.
func (w *watcher) raised() []sample {
	w.t.Helper()
	raised, err := w.prometheus.query(`max_over_time(ALERTS{alertstate="firing"}[5m])`)
	if err != nil {
		w.t.Fatal(err)
	}
	return raised
}

// over waits until alerts are not raised any more.
func (w *watcher) over(alerts ...string) {
	w.t.Helper()
	await(w.t, "alerts are over", func() string {
		firing, err := w.firing()
		if err != nil {
			return err.Error()
		}
		var still []string
		for _, a := range alerts {
			if firing[a] {
				still = append(still, a)
			}
		}
		return strings.Join(still, " ")
	})
}

// complete reports queries and alerts that no phase has had.
func (w *watcher) complete() {
	w.t.Helper()
	for _, where := range slices.Sorted(maps.Keys(w.queries)) {
		if !w.seen[where] {
			w.t.Errorf("%s: no phase shows it", where)
		}
	}
	if len(w.raised()) == 0 {
		w.t.Error("no alert was ever raised: quiet says nothing")
	}
}
