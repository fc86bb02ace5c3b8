package surecall_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/limit"
	"github.com/surecall/surecall/surecalltest"
)

// paper is a policy document in memory.
type paper struct {
	mu      sync.Mutex
	text    []byte // nil: there is none
	err     error
	changed chan struct{}
	readers int
}

func newPaper(text string) *paper {
	p := &paper{changed: make(chan struct{})}
	if text != "" {
		p.text = []byte(text)
	}
	return p
}

// says replaces what the paper says, and returns when all who read it have heeded it. In a
// bubble only.
func (p *paper) says(text string) { p.set([]byte(text), nil) }

func (p *paper) set(text []byte, err error) {
	p.mu.Lock()
	p.text, p.err = text, err
	close(p.changed)
	p.changed = make(chan struct{})
	p.mu.Unlock()
	synctest.Wait()
}

func (p *paper) String() string { return "paper" }

func (p *paper) Watch(ctx context.Context, update func([]byte, error)) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.readers++
	defer func() { p.readers-- }()
	for {
		text, err, changed := p.text, p.err, p.changed
		p.mu.Unlock()
		update(text, err)
		select {
		case <-changed:
		case <-ctx.Done():
		}
		p.mu.Lock()
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

func (p *paper) read() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.readers
}

// layer returns one layer of a client's policies.
func layer(t *testing.T, c *surecall.Client, name string) surecall.PolicyLayer {
	t.Helper()
	for _, l := range c.Policies() {
		if l.Layer == name {
			return l
		}
	}
	t.Fatalf("no layer %q in %+v", name, c.Policies())
	return surecall.PolicyLayer{}
}

// What code says, what the owner says over it, and what the caller says over both: of the
// same thing the later one wins, however specific the earlier one is; within one of them the
// most specific pattern does.
func TestPolicyPrecedence(t *testing.T) {
	const ms = time.Millisecond
	for name, test := range map[string]struct {
		code          []surecall.Option
		owner, caller string
		want          map[string]time.Duration // deadlines
	}{
		"code alone":     {nil, "{}", "", map[string]time.Duration{getMethod: 5 * time.Second}},
		"owner":          {[]surecall.Option{surecall.WithCallDeadline(900 * ms)}, `{"deadline": "1s"}`, "{}", map[string]time.Duration{getMethod: time.Second}},
		"caller":         {nil, `{"deadline": "1s"}`, `{"deadline": "2s"}`, map[string]time.Duration{getMethod: 2 * time.Second}},
		"caller, narrow": {nil, `{"deadline": "1s"}`, `{"methods": {"` + getMethod + `": {"deadline": "2s"}}}`, map[string]time.Duration{getMethod: 2 * time.Second, placeMethod: time.Second}},
		"off":            {nil, `{"deadline": "1s"}`, `{"deadline": false}`, map[string]time.Duration{getMethod: 0}},
		"owner over a narrow pattern of code": {
			[]surecall.Option{surecall.ForMethod(getMethod, surecall.WithCallDeadline(900*ms), surecall.WithoutRetry())},
			`{"deadline": "1s"}`, "", map[string]time.Duration{getMethod: time.Second},
		},
		"owner's pattern over a narrow one of code": {
			[]surecall.Option{surecall.ForMethod(getMethod, surecall.WithCallDeadline(900*ms)), surecall.ForMethod("/orders.v1.Orders/*", surecall.WithCallDeadline(800*ms))},
			`{"methods": {"/orders.v1.Orders/G*": {"deadline": "1s"}}}`, "", map[string]time.Duration{getMethod: time.Second, placeMethod: 800 * ms},
		},
		"a pattern of code that the owner's does not cover": {
			[]surecall.Option{surecall.ForMethod("/orders.v1.Orders/Pl*", surecall.WithCallDeadline(900*ms))},
			`{"methods": {"` + placeMethod + `": {"idempotent": true}, "/orders.v1.Orders/Plac": {"deadline": "1s"}}}`, "", map[string]time.Duration{placeMethod: 900 * ms},
		},
		"within a document": {
			nil, `{"methods": {"*": {"deadline": "1s"}, "/orders.v1.Orders/Get": {"deadline": "3s"}, "/orders.v1.Orders/G*": {"deadline": "2s"}}, "deadline": "4s"}`, "",
			map[string]time.Duration{getMethod: 3 * time.Second, placeMethod: time.Second},
		},
		"other things of the pattern stay": {
			[]surecall.Option{surecall.ForMethod(getMethod, surecall.WithCallDeadline(900*ms))},
			`{"retry": false, "methods": {"/orders.v1.Orders/*": {"hedge": false}}}`, "", map[string]time.Duration{getMethod: 900 * ms},
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				opts := append(test.code, surecall.WithOwnerPolicy(newPaper(test.owner)), surecall.WithCallerPolicy(newPaper(test.caller)))
				client := ready(t, surecalltest.NewCluster(t, 1), opts...)
				for method, want := range test.want {
					if got := surecall.Deadline(client, method); got != want {
						t.Errorf("%s has a deadline of %v: want %v", method, got, want)
					}
				}
			})
		})
	}
}

// The limits of patterns hold beside the client's, whoever gives them.
func TestPolicyLimitsAddUp(t *testing.T) {
	bubble(t, func(t *testing.T) {
		client := ready(t, surecalltest.NewCluster(t, 1), surecall.ForMethod(getMethod, surecall.WithConcurrency(limit.Concurrency{Limit: 7})),
			surecall.WithOwnerPolicy(newPaper(`{"concurrency": {"limit": 70}}`)))
		d := surecall.EffectivePolicy(client, getMethod)
		if client, method := d.Concurrency.Value.Limit, d.Methods[getMethod].Concurrency.Value.Limit; client != 70 || method != 7 {
			t.Errorf("limits of %d and %d: want 70 and 7", client, method)
		}
	})
}

// A document is what code would say: the same is in force.
func TestPolicyDocumentEqualsCode(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 1)
		document := ready(t, cluster, surecall.WithOwnerPolicy(newPaper(wholeDocument)))
		var code []surecall.Option
		for _, o := range sameDocument().Options() {
			code = append(code, o)
		}
		coded := ready(t, cluster, code...)
		methods := []string{getMethod, placeMethod, "/other.Service/Method"}
		if document, coded := surecall.EffectivePolicy(document, methods...).String(), surecall.EffectivePolicy(coded, methods...).String(); document != coded {
			t.Errorf("by document:\n%s\nby code:\n%s", document, coded)
		}
		plain := ready(t, cluster)
		if surecall.EffectivePolicy(plain, methods...).String() == surecall.EffectivePolicy(document, methods...).String() {
			t.Error("the document changed nothing")
		}
		if l := layer(t, document, "owner"); l.Refused != "" || l.Applied.IsZero() || len(l.Sets) < 20 || l.Source != "paper" {
			t.Errorf("layer %+v: want it applied", l)
		}
	})
}

// What cannot be used changes nothing, and is told once; the last good document stands.
func TestPolicyRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const good = `{"deadline": "1s", "methods": {"` + getMethod + `": {"hedge": {"delay": "30ms"}}}}`
		p, events := newPaper(good), &log{}
		client := ready(t, surecalltest.NewCluster(t, 1), events.option(), surecall.WithOwnerPolicy(p))
		before, applied := surecall.InForce(client), layer(t, client, "owner")
		for n, bad := range []struct {
			text string
			err  error
			want string
		}{
			{"", nil, "empty"},
			{good[:20], nil, "cut off"},
			{`{"deadlin": "1s"}`, nil, `did you mean "deadline"`},
			{`{"deadline": "20ms"}{}`, nil, "follows the end"},
			{`{"throttle": {}, "method_breaker": {}}`, nil, "WithThrottle and WithMethodBreaker: want one of them"},
			{`{"deadline": "1s", "hedge": {"delay": "2s"}}`, nil, "with what else is in force: surecall: Hedge.Delay 2s: want less than the call deadline"},
			{`{"methods": {"` + placeMethod + `": {"hedge": {}}}}`, nil, "not known to be idempotent"},
			{"", errors.New("no route to host"), "no route to host"},
		} {
			p.set([]byte(bad.text), bad.err)
			p.set([]byte(bad.text), bad.err) // is told once
			l := layer(t, client, "owner")
			if !strings.Contains(l.Refused, bad.want) || l.Applied != applied.Applied || len(l.Sets) != 2 {
				t.Errorf("%q: layer %+v: want it refused for %q", bad.text, l, bad.want)
			}
			told := eventsOf[event.PolicyRefused](events)
			if len(told) != n+1 || !strings.Contains(told[n].Err.Error(), bad.want) || told[n].Layer != "owner" || told[n].Source != "paper" || told[n].Service == "" {
				t.Fatalf("%q: told of %+v: want it once", bad.text, told)
			}
			if surecall.InForce(client) != before {
				t.Fatalf("%q: something else is in force", bad.text)
			}
		}
		p.set(nil, nil)
		if l := layer(t, client, "owner"); !strings.Contains(l.Refused, "the document is gone") || surecall.InForce(client) != before {
			t.Errorf("gone: layer %+v: want what was there to stand", l)
		}
		p.says(good)
		if l := layer(t, client, "owner"); l.Refused != "" || surecall.InForce(client) != before {
			t.Errorf("back: layer %+v: want no change and no complaint", l)
		}
		if n := len(eventsOf[event.PolicyApplied](events)); n != 2 {
			t.Errorf("told %d times that it is in force: want it at the start and when it was back", n)
		}
		p.says("{}")
		if d := surecall.Deadline(client, getMethod); d != 5*time.Second || layer(t, client, "owner").Sets != nil {
			t.Errorf("deadline %v after {}: want the default", d)
		}
	})
}

// A document that never was is no complaint, and what is wrong from the start stops nothing.
func TestPolicyMissing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		events, none, bad := &log{}, newPaper(""), newPaper("{")
		client := ready(t, surecalltest.NewCluster(t, 1), events.option(), surecall.WithOwnerPolicy(none), surecall.WithCallerPolicy(bad))
		get(t, client)
		if l := layer(t, client, "owner"); l.Refused != "" || !l.Applied.IsZero() {
			t.Errorf("layer %+v: want nothing said", l)
		}
		if l := layer(t, client, "caller"); l.Refused == "" || !l.Applied.IsZero() || len(eventsOf[event.PolicyRefused](events)) != 1 {
			t.Errorf("layer %+v: want it refused", l)
		}
	})
}

// What was learned outlives documents: an ejection, and what a limit of concurrency holds.
func TestPolicyKeepsState(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p, cluster := newPaper(`{"deadline": "1s", "concurrency": {"limit": 5}}`), surecalltest.NewCluster(t, 3)
		client := ready(t, cluster, inTurn(), surecall.WithOwnerPolicy(p))
		cluster.Instance(0).Fail(codes.Unavailable)
		load(t, client, getMethod, 10*time.Millisecond, 300*time.Millisecond)
		if client.Instances()[0].State != event.Ejected {
			t.Fatal("not ejected")
		}
		for _, text := range []string{`{"deadline": "2s", "concurrency": {"limit": 5}}`, `{}`, `{"hedge": {}, "breaker": {}}`} {
			if p.says(text); client.Instances()[0].State != event.Ejected || layer(t, client, "owner").Refused != "" {
				t.Errorf("%s: the instance is %s: want it to stay ejected", text, client.Instances()[0].State)
			}
		}
	})
}

// Code and documents have to agree. An update that does not agree with a document is an error
// and changes nothing; a document that does not is refused, and applied once the rest has
// changed.
func TestPolicyAgreesWithUpdate(t *testing.T) {
	bubble(t, func(t *testing.T) {
		owner, caller := newPaper(`{"methods": {"`+getMethod+`": {"hedge": {"delay": "100ms"}}}}`), newPaper("{}")
		client := ready(t, surecalltest.NewCluster(t, 1), surecall.WithOwnerPolicy(owner), surecall.WithCallerPolicy(caller))
		before := surecall.InForce(client)
		err := client.Update(surecall.WithCallDeadline(50 * time.Millisecond))
		if err == nil || !strings.Contains(err.Error(), "with the policy documents") || !strings.Contains(err.Error(), "Hedge.Delay 100ms") || surecall.InForce(client) != before {
			t.Errorf("Update: %v: want an error about the hedge, and nothing changed", err)
		}
		owner.says(`{"methods": {"` + getMethod + `": {"hedge": {"delay": "8s"}}}}`)
		if l := layer(t, client, "owner"); !strings.Contains(l.Refused, "Hedge.Delay 8s") {
			t.Errorf("layer %+v: want the hedge refused", l)
		}
		if err := client.Update(surecall.WithCallDeadline(9 * time.Second)); err != nil {
			t.Error(err)
		}
		if l := layer(t, client, "owner"); l.Refused != "" || surecall.Deadline(client, getMethod) != 9*time.Second {
			t.Errorf("layer %+v: want it applied now that the deadline is longer", l)
		}
		caller.says(`{"deadline": "3s"}`)
		if l := layer(t, client, "caller"); !strings.Contains(l.Refused, "Hedge.Delay 8s") {
			t.Errorf("layer %+v: want the deadline refused for the hedge", l)
		}
		owner.says(`{"hedge": false}`)
		if l := layer(t, client, "caller"); l.Refused != "" || surecall.Deadline(client, getMethod) != 3*time.Second {
			t.Errorf("layer %+v: want it applied now that nothing is hedged", l)
		}
		if err := client.Update(surecall.WithCallDeadline(-1)); err == nil {
			t.Error("Update: no error")
		}
		if l := layer(t, client, "code"); l.Applied.IsZero() || l.Source != "" {
			t.Errorf("layer %+v", l)
		}
	})
}

// Protections that a document switches off are off beside those of code.
func TestPolicyDisables(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newPaper(`{"disable": ["retry", "hedge"]}`)
		client := ready(t, surecalltest.NewCluster(t, 1), surecall.WithDisabled(surecall.ProtectionCache), surecall.WithCallerPolicy(p))
		off := func() string { return fmt.Sprint(client.Disabled()) }
		if off() != "[retry hedge cache]" {
			t.Errorf("off are %s", off())
		}
		if err := client.Update(surecall.WithDisabled()); err != nil || off() != "[retry hedge]" {
			t.Errorf("off are %s, %v: want those of the document", off(), err)
		}
		if p.says(`{"disable": ["breaker"]}`); off() != "[breaker]" {
			t.Errorf("off are %s: want only what the document says now", off())
		}
		if p.says(`{}`); off() != "[]" {
			t.Errorf("off are %s: want none", off())
		}
	})
}

// Documents and updates at random: what cannot be used changes nothing, what can holds.
// What is good here contradicts nothing.
func TestPolicyModel(t *testing.T) {
	texts := []string{
		`{}`, `{"deadline": "1s"}`, `{"deadline": "2s", "idempotent": true}`, `{"deadline": "x"}`, `{`, `{"methods": {"*": {"deadline": "4s"}}}`,
		`{"throttle": {}, "method_breaker": {}}`, `{"deadline": false}`, wholeDocument,
	}
	deadline := map[string]time.Duration{texts[1]: time.Second, texts[2]: 2 * time.Second, texts[5]: 4 * time.Second, texts[7]: 0, wholeDocument: 3 * time.Second}
	good := func(n int) bool { return n != 3 && n != 4 && n != 6 }
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				rnd := rand.New(rand.NewPCG(seed, 1))
				papers, said := []*paper{newPaper("{}"), newPaper("{}")}, []string{"{}", "{}"}
				client := ready(t, surecalltest.NewCluster(t, 1), surecall.WithOwnerPolicy(papers[0]), surecall.WithCallerPolicy(papers[1]))
				code := 5 * time.Second
				for range 40 {
					before := surecall.InForce(client)
					who, what := rnd.IntN(3), rnd.IntN(len(texts))
					switch {
					case who == 2:
						code = time.Duration(6+rnd.IntN(5)) * time.Second
						if err := client.Update(surecall.WithCallDeadline(code)); err != nil {
							t.Fatal(err)
						}
					case good(what):
						papers[who].says(texts[what])
						said[who] = texts[what]
					default:
						if papers[who].says(texts[what]); surecall.InForce(client) != before {
							t.Fatalf("%s changed something", texts[what])
						}
					}
					want := code
					for _, text := range said {
						if d, says := deadline[text]; says {
							want = d
						}
					}
					if got := surecall.Deadline(client, "/other.Service/Method"); got != want {
						t.Fatalf("code %v, documents %q: deadline %v: want %v", code, said, got, want)
					}
				}
			})
		})
	}
}
