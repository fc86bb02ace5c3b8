package status_test

import (
	"encoding/json"
	"fmt"
	"html"
	"math"
	"net/http"
	"net/http/httptest"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/status"
)

// of returns a handler that always shows the same.
func of(all ...status.Status) http.Handler {
	return status.Handler(func() []status.Status { return all })
}

// get asks h, as a browser does that was told the URL.
func get(t testing.TB, h http.Handler, url string) (*httptest.ResponseRecorder, string) {
	t.Helper()
	return ask(t, h, httptest.NewRequest(http.MethodGet, url, nil))
}

func ask(t testing.TB, h http.Handler, r *http.Request) (*httptest.ResponseRecorder, string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w, w.Body.String()
}

var tags = regexp.MustCompile(`<[^>]*>`)

// text is what a page says, without its tags.
func text(page string) string {
	return html.UnescapeString(strings.Join(strings.Fields(tags.ReplaceAllString(page, " ")), " "))
}

// The page as it is loaded, without any script, says all there is.
func TestPageSaysEverything(t *testing.T) {
	_, page := get(t, of(aClient("orders", 12), aClient("stock", 5)), "http://localhost/")
	shown := text(page)
	if title := "<title>2 of 2 services need a look – surecall</title>"; !strings.Contains(page, title) {
		t.Errorf("want %s", title)
	}
	for _, want := range []string{
		"2 of 2 services need a look", "8 of 12 eligible", "3 of 5 eligible", // verdicts
		"consul:///orders", "lists 12 instances, trusted", "answered 3 s ago", // the source
		"191,435", "4 failed", "closed 9 of 812 failed", "41 of 60", "17 of 1,024", "4 of 4 2 wait", // what clients do
		"1 failed 1 ejected 1 suspect 1 draining 8 eligible",                                // the bar
		"orders-4 10.0.0.4:80 failed connection error: desc", "connect: connection refused", // instances
		"orders-2 10.0.0.2:80 ejected ejected until 12:00:04", "a trial from 12:00:04, ejected 2×", //
		"open 19 of 31 failed 5 in a row", "slow start 43 %", "5.0 ms", //
		"orders.v1.Orders/Get idempotent", "retried after: 84 UNAVAILABLE, 4 hang", "12 hedges, 5 won", "retry denied: 1 not idempotent", // methods
		"11:59:57 OK orders.v1.Orders/Get mended, 12 ms, 2 attempts", "11:59:00 ERROR source failed consul", "11:59:59 DEADLINE_EXCEEDED orders.v1.Orders/Place 5.0 s, 1 attempt", "never executed", "What would have helped", "is not idempotent: if it is, say so", // bad calls
		"11:59:58 WARN orders-2 (10.0.0.2:80): eligible → ejected: 5 failures in a row", // events
		"owner surecall/orders since 9 Mar 11:00", "hedging of /orders.v1.Orders/Get", "the newest was refused: line 4: retry.attempts 40: want 1 to 10",
	} {
		if !strings.Contains(shown, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if t.Failed() {
		t.Log(shown)
	}
	if owner, code := strings.Index(shown, "owner surecall/orders"), strings.Index(shown, "code since"); owner > code {
		t.Error("the layer that wins does not stand first")
	}
}

func TestPageSaysWhatIsSwitchedOff(t *testing.T) {
	s := aClient("orders", 1)
	s.Shadow, s.Disabled = true, []string{"breaker", "retry"}
	s.ServiceBreaker = &status.Breaker{State: "open", Failures: 40, Run: 40}
	s.Source = status.Source{Answered: true, Age: 400, Why: "no cluster leader", Instances: 1}
	s.Budget.Tokens = 0.3
	s.Notifications = status.Notifications{Pending: 2, Sent: 5000, Failed: 1, Dropped: 3}
	_, page := get(t, of(s), "http://localhost/")
	shown := text(page)
	for _, want := range []string{
		"shadow mode", "breaker is off", "retry is off", "service breaker open", "40 failures, no success",
		"lists 1 instance, not trusted", "answered 6.7 min ago", "no cluster leader", "empty: no retries, no hedges",
		"2 pending, 5,000 sent, 1 failed, 3 dropped",
	} {
		if !strings.Contains(shown, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if t.Failed() {
		t.Log(shown)
	}
}

func TestPageOfNothing(t *testing.T) {
	for name, c := range map[string]struct {
		all  []status.Status
		want string
	}{
		"no client":     {nil, "no clients"},
		"just made":     {[]status.Status{{Service: "orders"}}, "no answer from the source yet"},
		"known empty":   {[]status.Status{{Service: "orders", Source: status.Source{Answered: true, Trusted: true}}}, "no instances known"},
		"idle":          {[]status.Status{{Service: "orders", Source: status.Source{Answered: true, Instances: 2, Why: "it is no longer asked"}}}, "idle or closed"},
		"from disk":     {[]status.Status{{Service: "orders", Source: status.Source{FromDisk: true, Instances: 2}}}, "the last snapshot on disk serves"},
		"gRPC resolves": {[]status.Status{{Service: "x", Instances: []status.Instance{{ID: "a", State: "eligible", Eligible: true}}}}, "a resolver of gRPC's own"},
	} {
		t.Run(name, func(t *testing.T) {
			answer, page := get(t, of(c.all...), "http://localhost/")
			if shown := text(page); answer.Code != http.StatusOK || !strings.Contains(shown, c.want) {
				t.Errorf("%d, does not say %q: %s", answer.Code, c.want, shown)
			}
		})
	}
}

// hostile is a client whose registry means ill.
func hostile() status.Status {
	evil := `<script>alert(1)</script>"'><img src=x onerror=alert(2)>` + "\x00\x1b[31m\u202e\r\n\ndata: x\xff\xfe\u2028"
	s := aClient("orders", 3)
	long := strings.Repeat("A", 1<<20)
	s.Service, s.Target = evil, "javascript:alert(3)"+evil
	s.Disabled = []string{evil}
	s.Source.Why, s.Source.Age = evil, math.NaN()
	s.Source.Datacenters = []status.Source{{Datacenter: evil}, {Datacenter: "b"}}
	s.Instances[0] = status.Instance{
		ID: evil, Address: evil, Incarnation: evil, Region: evil, Zone: evil, State: evil, Why: evil, Mode: evil,
		Latency: math.NaN(), SlowStart: math.Inf(-1), Share: math.NaN(), Rest: math.Inf(1), InFlight: math.MinInt, Weight: math.MaxInt,
		Breaker: &status.Breaker{State: evil, Mode: evil, Requests: -5, Failures: math.MaxInt},
	}
	s.Instances[1] = s.Instances[0]
	s.Instances[2].ID, s.Instances[2].Why = long, long
	s.Methods[0].Name, s.Methods[0].P99 = evil, math.NaN()
	s.Methods[0].Calls = map[string]uint64{evil: 3, "OK": math.MaxUint64}
	s.Budget = status.Budget{Tokens: math.Inf(1), Capacity: math.NaN()}
	s.Limits = []status.Limit{{Scope: evil, InFlight: -1}}
	s.Policies[0] = status.Policy{Layer: evil, From: evil, Refused: evil, Sets: []string{evil}}
	s.Events[0] = status.Event{At: noon, Level: evil, Kind: evil, Text: evil, Instance: evil}
	s.Events[1].Text = long
	s.BadCalls[0] = status.BadCall{At: noon, Method: evil, Code: evil, Error: evil, Took: math.NaN(), Denied: evil,
		Attempts: []status.Attempt{{Instance: evil, Address: evil, Error: long, Verdict: evil, Began: math.Inf(1)}}, Advice: []string{evil, long}}
	return s
}

// What stands between tags and in attributes of the page is inert, whatever the registry
// says.
func TestHostileRegistry(t *testing.T) {
	for _, url := range []string{"http://localhost/", `http://localhost/?q=%3Cscript%3Ealert(1)%3C%2Fscript%3E%22%00`} {
		answer, page := get(t, of(hostile()), url)
		if answer.Code != http.StatusOK {
			t.Fatal(answer.Code)
		}
		if n := strings.Count(page, "<script"); n != 1 { // the page's own
			t.Errorf("%d script elements", n)
		}
		if strings.Contains(page, "<img") {
			t.Error("an element of the registry's")
		}
		if !utf8.ValidString(page) {
			t.Error("the page is not valid UTF-8")
		}
		if at := strings.IndexFunc(page, func(r rune) bool { return r < ' ' && r != '\n' || r == '\u202e' || r == '\u2028' }); at >= 0 {
			t.Errorf("a control character: %q", page[max(0, at-50):at+5])
		}
		if len(page) > 100<<10 {
			t.Errorf("the page has %d bytes: lengths are not bounded", len(page))
		}
		ids := map[string]bool{}
		for _, m := range regexp.MustCompile(` id="([^"]*)"`).FindAllStringSubmatch(page, -1) {
			if ids[m[1]] {
				t.Errorf("two elements have the ID %q", m[1])
			}
			if own := regexp.MustCompile(`^(s\d+(-[a-z]+)*|[a-z]+(-[a-z]+)*)$`); !own.MatchString(m[1]) && !strings.Contains(m[1], "--") {
				t.Errorf("an ID made of what a registry says could be one of the page's own: %q", m[1])
			}
			ids[m[1]] = true
		}
	}
}

func TestHostileJSON(t *testing.T) {
	answer, body := get(t, of(hostile()), "http://localhost/status.json")
	var all struct{ Clients []status.Status }
	if err := json.Unmarshal([]byte(body), &all); err != nil || answer.Code != http.StatusOK {
		t.Fatal(answer.Code, err)
	}
	s := all.Clients[0]
	if s.Instances[0].Latency != 0 || s.Budget.Tokens != math.MaxFloat64 || s.Instances[0].SlowStart != -math.MaxFloat64 {
		t.Errorf("%v, %v, %v: want 0, the largest and the smallest number", s.Instances[0].Latency, s.Budget.Tokens, s.Instances[0].SlowStart)
	}
	if s.Instances[2].ID != strings.Repeat("A", 1<<20) {
		t.Error("the JSON has not all of an ID")
	}
}

// The JSON is all that was read, in an object, whose list is never null.
func TestJSON(t *testing.T) {
	want := []status.Status{aClient("orders", 3), aClient("stock", 1)}
	for _, url := range []string{"/status.json", "/debug/status.json", "/?format=json"} {
		answer, body := get(t, of(want...), "http://127.0.0.1:80"+url)
		var all struct{ Clients []status.Status }
		if err := json.Unmarshal([]byte(body), &all); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(all.Clients, want) {
			t.Errorf("%v: want %v", all.Clients, want)
		}
		if kind := answer.Header().Get("Content-Type"); kind != "application/json; charset=utf-8" {
			t.Error(kind)
		}
	}
	if _, body := get(t, of(), "http://localhost/status.json"); !strings.Contains(body, `"clients": []`) {
		t.Error(body)
	}
}

func TestMetricsBesideThePage(t *testing.T) {
	for url, instances := range map[string]bool{"/metrics": false, "/x/metrics?instances=1": true, "/?format=metrics": false} {
		answer, body := get(t, of(aClient("orders", 2)), "http://localhost"+url)
		if kind := answer.Header().Get("Content-Type"); kind != "text/plain; version=0.0.4; charset=utf-8" {
			t.Errorf("%s: %s", url, kind)
		}
		if !strings.Contains(body, "surecall_client_calls_total{") || strings.Contains(body, "surecall_instance=") != instances {
			t.Errorf("%s: %s", url, body)
		}
	}
}

// What the page refers to is there, and nothing of it is elsewhere.
func TestWhatThePageLoads(t *testing.T) {
	h := of(aClient("orders", 2))
	_, page := get(t, h, "http://localhost/")
	refers := regexp.MustCompile(` (?:href|src|action)="([^"]*)"`).FindAllStringSubmatch(page, -1)
	for _, m := range refers {
		switch {
		case m[1] == "", m[1] == "?", strings.HasPrefix(m[1], "#"):
		case strings.HasPrefix(m[1], "?format="):
			if answer, body := get(t, h, "http://localhost/where/ever"+m[1]); answer.Code != http.StatusOK || body == "" {
				t.Errorf("%s: %d", m[1], answer.Code)
			}
		default:
			t.Errorf("the page refers to %q", m[1])
		}
	}
	if len(refers) < 5 {
		t.Errorf("the page refers to %v", refers)
	}
	if found := regexp.MustCompile(`(?i) on[a-z]+=|style=|javascript:|<style`).FindString(page); found != "" {
		t.Errorf("the page has %q, which its policy forbids", found)
	}
}

func TestFilterWithoutScript(t *testing.T) {
	_, page := get(t, of(aClient("orders", 3000)), "http://localhost/?q=ORDERS-2999")
	if shown := text(page); !strings.Contains(shown, "orders-2999 10.0.11.249:80") || strings.Contains(shown, "orders-2998 ") || !strings.Contains(shown, "1 of 3,000 instances") {
		t.Error("want orders-2999 alone")
	}
}

// However many instances there are, the page stays bounded, shows those in trouble and says
// what it does not show.
func TestManyInstances(t *testing.T) {
	s := aClient("orders", 10_000)
	s.Instances[9_876].State, s.Instances[9_876].Eligible = string(event.Failed), false
	for n := range 1298 {
		s.Methods = append(s.Methods, status.Method{Name: fmt.Sprint("/a/M", n)})
	}
	_, page := get(t, of(s), "http://localhost/")
	if n := strings.Count(page, `<tr id=`); n != 1000+200 {
		t.Errorf("%d rows", n)
	}
	shown := text(page)
	if !strings.Contains(shown, "orders-9877 ") || !strings.Contains(shown, "9,000 more not shown: 9,000 eligible") || !strings.Contains(shown, "1,100 more methods not shown") {
		t.Error("want the one that failed, and how many instances and methods are not shown")
	}
	if len(page) > 2<<20 {
		t.Errorf("%d bytes", len(page))
	}
	if failed, eligible := strings.Index(shown, "orders-9877 "), strings.Index(shown, "orders-1 10."); failed > eligible {
		t.Error("the one that failed does not stand above those that are well")
	}
	if nine, ten := strings.Index(shown, "orders-11 10."), strings.Index(shown, "orders-100 10."); nine > ten {
		t.Error("orders-11 does not stand above orders-100")
	}
}

func BenchmarkPage(b *testing.B) {
	for _, n := range []int{5, 500, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			h := of(aClient("orders", n))
			for b.Loop() {
				_, page := get(b, h, "http://localhost/")
				b.ReportMetric(float64(len(page)), "bytes/page")
			}
		})
	}
}
