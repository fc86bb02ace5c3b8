package consul

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/surecall/surecall/discovery"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// full is an answer with the named instances; lead one from the leader.
func full(index uint64, names ...string) answer {
	a := answer{index: index, backend: "streaming"}
	for _, id := range names {
		a.entries++
		a.instances = append(a.instances, discovery.Instance{ID: id, Address: id + ":1"})
	}
	return a
}

func lead(index uint64, names ...string) answer {
	a := full(index, names...)
	a.backend, a.leader = backendRPC, true
	return a
}

func hide(a answer) answer { a.filtered = true; return a }

func leaderless(a answer) answer { a.leader = false; return a }

// TestEmptyAnswers is the table of when an empty answer is believed.
func TestEmptyAnswers(t *testing.T) {
	down := errors.New("No cluster leader")
	garbage := full(20)
	garbage.entries = 2
	tests := []struct {
		name    string
		held    answer // before; zero: nothing
		got     answer
		confirm answer
		err     error
		want    string // instances afterwards
		doubt   string // part of the doubt; empty: believed
		asks    bool   // whether the leader is asked
	}{
		{"nothing held", answer{}, full(20), lead(20), nil, "", "", true},
		{"nothing held, no servers", answer{}, full(20), answer{}, down, "", "No cluster leader", true},
		{"nothing held, ACLs that only the leader tells of", answer{}, full(20), hide(lead(20)), nil, "", "node:read", true},
		{"index of an agent that knows nothing, leader agrees", answer{}, full(1), lead(20), nil, "", "", true},
		{"index of an agent that knows nothing, no servers", answer{}, full(1), answer{}, down, "", "No cluster leader", true},
		{"index of an agent that knows nothing, leader too", answer{}, full(1), lead(1), nil, "", "peer", true},
		{"last one left", full(10, "a"), full(20), lead(20), nil, "", "", true},
		{"servers unreachable", full(10, "a"), full(20), answer{}, down, "a", "No cluster leader", true},
		{"no leader", full(10, "a"), full(20), leaderless(lead(20)), nil, "a", "no leader", true},
		{"KnownLeader of a stream says nothing", full(10, "a"), full(20), leaderless(full(20)), nil, "a", "no leader", true},
		{"KnownLeader counts from the RPC backend only", full(10, "a"), full(20), func() answer { a := full(20); a.leader = true; return a }(), nil, "a", "no leader", true},
		{"leader disagrees", full(10, "a"), full(20), lead(21, "a", "b"), nil, "a b", "", true},
		{"lost its memory", full(158, "a"), full(7), lead(7), nil, "a", "went back from 158 to 7", true},
		{"vanished without a change", full(10, "a"), full(10), lead(10), nil, "a", "did not change", true},
		{"ACLs hide all", full(10, "a"), hide(full(20)), answer{}, nil, "a", "service:read or node:read", false},
		{"ACLs hide all from the start", answer{}, hide(full(20)), answer{}, nil, "", "service:read or node:read", false},
		{"ACLs hide all at the leader", full(10, "a"), full(10), hide(lead(20)), nil, "a", "service:read or node:read", true},
		{"ACLs hide some", full(10, "a", "b"), hide(full(20, "a")), answer{}, nil, "a", "service:read or node:read", false},
		{"only garbage", full(10, "a"), garbage, answer{}, nil, "a", "none of its 2 registrations", false},
		{"critical is not empty", full(10, "a"), full(20, "b"), answer{}, nil, "b", "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := &progress{waitTime: time.Minute}
			if len(tt.held.instances) > 0 {
				p.believe(tt.held)
			}
			asked := false
			set, doubt := p.judge(tt.got, noon, func() (answer, error) { asked = true; return tt.confirm, tt.err })
			var got []string
			for _, i := range set.instances {
				got = append(got, i.ID)
			}
			if strings.Join(got, " ") != tt.want {
				t.Errorf("instances %v, want %q", got, tt.want)
			}
			if (doubt != nil) != (tt.doubt != "") || !strings.Contains(text(doubt), tt.doubt) {
				t.Errorf("doubt %v, want one about %q", doubt, tt.doubt)
			}
			if asked != tt.asks {
				t.Errorf("asked the leader: %v, want %v", asked, tt.asks)
			}
		})
	}
}

// The leader is asked once about a service that has no instances.
func TestConfirmedEmptyStays(t *testing.T) {
	p := &progress{waitTime: time.Minute}
	asked := 0
	confirm := func() (answer, error) { asked++; return lead(20), nil }
	for index := range uint64(5) {
		if set, doubt := p.judge(full(20+index), noon, confirm); doubt != nil || len(set.instances) != 0 {
			t.Fatalf("%+v, %v", set, doubt)
		}
	}
	if asked != 1 {
		t.Errorf("asked %d times", asked)
	}
	p.believe(full(30, "a"))
	if _, _ = p.judge(full(31), noon, confirm); asked != 2 {
		t.Error("not asked after there was one")
	}
}

// A view that was found to be stale is not believed before it agrees with the leader, and
// then it is without asking.
func TestStaleViews(t *testing.T) {
	down := errors.New("No cluster leader")
	for _, tt := range []struct {
		name    string
		got     answer
		confirm answer
		err     error
		want    string
		doubt   string
		stale   bool // afterwards
	}{
		{"still", full(10, "a"), lead(20, "a", "b"), nil, "a b", "", true},
		{"agrees", full(20, "a", "b"), lead(20, "a", "b"), nil, "a b", "", false},
		{"agrees that there is none", full(20), lead(20), nil, "", "", false},
		{"there is none any more", full(10, "a"), lead(20), nil, "", "", true},
		{"no servers", full(10, "a", "b"), answer{}, down, "a", "stale and the leader does not answer: No cluster leader", true},
		{"no leader", full(10, "a", "b"), leaderless(lead(20, "b")), nil, "a", "no leader", true},
		{"ACLs", full(10, "a"), hide(lead(20, "b")), nil, "b", "node:read", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := &progress{waitTime: time.Minute, stale: true}
			p.believe(full(9, "a"))
			set, doubt := p.judge(tt.got, noon, func() (answer, error) { return tt.confirm, tt.err })
			var got []string
			for _, i := range set.instances {
				got = append(got, i.ID)
			}
			if strings.Join(got, " ") != tt.want || (doubt != nil) != (tt.doubt != "") || !strings.Contains(text(doubt), tt.doubt) || p.stale != tt.stale {
				t.Errorf("instances %v, doubt %v, stale %v", got, doubt, p.stale)
			}
		})
	}
}

// A registry that lost its memory is believed to be empty once its services had the
// time to come back.
func TestLostMemoryIsBelievedInTheEnd(t *testing.T) {
	p := &progress{waitTime: time.Minute}
	p.believe(full(158, "a"))
	confirm := func() (answer, error) { return lead(7), nil }
	for _, after := range []time.Duration{0, emptyHold - 1} {
		if set, doubt := p.judge(full(7), noon.Add(after), confirm); doubt == nil || len(set.instances) != 1 {
			t.Fatalf("after %v: %v, %v", after, set, doubt)
		}
	}
	if set, doubt := p.judge(full(7), noon.Add(emptyHold), confirm); doubt != nil || len(set.instances) != 0 {
		t.Fatalf("after %v: %v, %v", emptyHold, set, doubt)
	}
}

func TestPlans(t *testing.T) {
	p := &progress{waitTime: time.Minute}
	first := plan{wait: firstWait, cached: true}
	late := full(10, "a")
	late.took = time.Minute
	tests := []struct {
		name  string
		asked plan
		got   answer
		want  plan
	}{
		{"blocks on the index", first, full(10, "a"), plan{index: 10, wait: time.Minute}},
		{"timed out", plan{index: 10, wait: time.Minute}, late, plan{index: 10, wait: time.Minute}},
		{"went back", plan{index: 11, wait: time.Minute}, full(10, "a"), first},
		{"no index", first, full(0, "a"), plan{wait: firstWait, cached: true, pause: pollPause}},
		{"came back early", plan{index: 10, wait: time.Minute}, full(10, "a"), plan{index: 10, wait: time.Minute, pause: earlyPause}},
	}
	random := func() float64 { return 0.5 }
	for _, tt := range tests {
		if got := p.answered(tt.asked, tt.got, random); got != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
	}
	var waits []time.Duration
	for range 6 {
		_, _ = p.doubt(full(10), errFiltered)
		waits = append(waits, p.answered(first, full(10), random).wait)
	}
	if want := "[2s 4s 8s 16s 30s 30s]"; fmt.Sprint(waits) != want {
		t.Errorf("waits while in doubt %v, want %s", waits, want)
	}
}

// Random answers keep the promises whatever their order: a held set never becomes
// empty without a doubt unless a leader said so, and no plan spins.
func TestProgressModel(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		p := &progress{waitTime: time.Minute}
		next, now := p.first(), noon
		held := false
		for range 40 {
			now = now.Add(time.Duration(random.IntN(20)) * time.Second)
			if random.IntN(5) == 0 {
				next = p.failed(errors.New("x"), random.Float64)
				if next.pause < backoffBase/10 || next.index != 0 {
					t.Fatalf("after an error: %+v", next)
				}
				continue
			}
			a := randomAnswer(random)
			p.stale = p.stale || random.IntN(10) == 0
			said := false
			set, doubt := p.judge(a, now, func() (answer, error) {
				b := randomAnswer(random)
				if random.IntN(3) == 0 {
					return b, errors.New("x")
				}
				said = b.leader && b.backend == backendRPC && !b.filtered && b.entries == 0
				return b, nil
			})
			if held && len(set.instances) == 0 && (doubt != nil || !said) {
				t.Fatalf("the held set was lost: answer %+v, doubt %v, the leader said so: %v", a, doubt, said)
			}
			held = len(set.instances) > 0
			next = p.answered(next, a, random.Float64)
			if next.wait < time.Second || next.index == 0 && !next.cached {
				t.Fatalf("plan %+v after %+v", next, a)
			}
		}
	}
}

func randomAnswer(random *rand.Rand) answer {
	a := full(uint64(random.IntN(12)), []string{"a", "b", "c"}[:random.IntN(3)]...)
	a.filtered, a.leader = random.IntN(6) == 0, random.IntN(2) == 0
	if random.IntN(2) == 0 {
		a.backend = backendRPC
	}
	return a
}

func TestBackoff(t *testing.T) {
	most := func() float64 { return 0.999999 }
	least := func() float64 { return 0 }
	for n, want := range map[int]time.Duration{1: 100 * time.Millisecond, 2: 200 * time.Millisecond, 9: 25600 * time.Millisecond, 10: 30 * time.Second, 1000: 30 * time.Second} {
		if got := backoff(n, false, backoffMax, most); got > want || got < want*99/100 {
			t.Errorf("at most %v after %d failures, want %v", got, n, want)
		}
		if got := backoff(n, false, backoffMax, least); got != 10*time.Millisecond {
			t.Errorf("at least %v after %d failures", got, n)
		}
		if got := backoff(n, true, backoffMax, least); got != permanentStart {
			t.Errorf("at least %v after %d permanent failures", got, n)
		}
	}
}

func TestInterval(t *testing.T) {
	for decoding, want := range map[time.Duration]time.Duration{0: minInterval, time.Millisecond: minInterval, 30 * time.Millisecond: 300 * time.Millisecond, time.Hour: maxInterval} {
		if got := interval(decoding); got != want {
			t.Errorf("interval(%v) = %v, want %v", decoding, got, want)
		}
	}
}

func TestPermanent(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want bool
	}{
		{api.StatusError{Code: 403, Body: "ACL not found"}, true},
		{api.StatusError{Code: 400, Body: "Bad request: Invalid query parameter: \"ns\""}, true},
		{api.StatusError{Code: 500, Body: "Failed to create boolean expression evaluator: 1:3 (2): no match found, expected: \"!=\""}, true},
		{api.StatusError{Code: 500, Body: "No path to datacenter"}, true},
		{api.StatusError{Code: 500, Body: "No cluster leader"}, false},
		{api.StatusError{Code: 429, Body: "Your IP is issuing too many concurrent connections"}, false},
		{errors.New("connection refused"), false},
	} {
		if got := permanent(fmt.Errorf("wrapped: %w", tt.err)); got != tt.want {
			t.Errorf("permanent(%v) = %v", tt.err, got)
		}
	}
}
