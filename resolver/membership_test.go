package resolver

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/surecall/surecall/discovery"
)

var errStale = errors.New("stale")

// set returns instances by their IDs, "a b c".
func set(ids string) []discovery.Instance {
	var all []discovery.Instance
	for _, id := range strings.Fields(ids) {
		all = append(all, discovery.Instance{ID: id, Address: "10.0.0.1:80", Weight: 1})
	}
	return all
}

func (m *membership) String() string {
	return fmt.Sprintf("%s|%s", strings.Join(slices.Sorted(maps.Keys(m.listed)), " "), strings.Join(slices.Sorted(maps.Keys(m.absent)), " "))
}

// TestMembership states the rule of doubt. A step is an answer ("a b", "a b?" if the
// source doubts it), "fail", or a time that passes; want is "listed|absent".
func TestMembership(t *testing.T) {
	for _, test := range []struct {
		name  string
		loss  Loss
		steps string
		want  string
	}{
		{"a first answer", Loss{}, "a b", "a b|"},
		{"a first answer that is empty", Loss{}, "-", "|"},
		{"half lost", Loss{}, "a b c d;a b", "a b|"},
		{"more than half lost", Loss{}, "a b c d;a", "a|b c d"},
		{"one of two lost", Loss{}, "a b;a", "a|"},
		{"the only one lost", Loss{}, "a;-", "|a"},
		{"all lost", Loss{}, "a b c d;-", "|a b c d"},
		{"all replaced", Loss{}, "a b;c d", "c d|a b"},
		{"a large loss, believed", ApplyAtOnce(), "a b c d;-", "|"},
		{"listed again", Loss{}, "a b c d;a;a c", "a c|b d"},
		{"4:59 later", Loss{}, "a b c;-;4m59s", "|a b c"},
		{"5 minutes later", Loss{}, "a b c;-;5m", "|"},
		{"the time begins with each loss", Loss{}, "a b c;a;3m;-;4m", "|a"},
		{"held for 1 minute", Hold(time.Minute), "a b c;-;59s", "|a b c"},
		{"held for 1 minute, over", Hold(time.Minute), "a b c;-;1m", "|"},
		{"the absent do not count as known", Loss{}, "a b c d e;a b;a", "a|c d e"},

		{"the source doubts: nobody goes", Loss{}, "a b c d;a b c?", "a b c|d"},
		{"the source doubts, for an hour", Loss{}, "a b c d;a b c?;1h", "a b c|d"},
		{"the source doubts, whatever the setting", ApplyAtOnce(), "a b c d;-?;1h", "|a b c d"},
		{"a small loss, vouched for in the end", Loss{}, "a b c d;a b c?;1h;a b c", "a b c|"},
		{"a large loss, vouched for in the end", Loss{}, "a b c d;-?;1h;a", "a|b c d"},
		{"a large loss, vouched for, and 5 minutes", Loss{}, "a b c d;-?;1h;a;5m", "a|"},
		{"vouched for, under apply at once", ApplyAtOnce(), "a b c d;-?;a", "a|"},
		{"the source doubts those who are absent already", Loss{}, "a b c;-;4m;-?;1h", "|a b c"},

		{"the source fails: all stay", Loss{}, "a b c;fail;1h", "a b c|"},
		{"the source fails: the absent stay", Loss{}, "a b c;-;fail;1h", "|a b c"},
		{"the source answers again: their time was over", Loss{}, "a b c;a;fail;1h;a", "a|"},
	} {
		t.Run(test.name, func(t *testing.T) {
			m, now := newMembership(test.loss), time.Unix(0, 0)
			for step := range strings.SplitSeq(test.steps, ";") {
				if d, err := time.ParseDuration(step); err == nil {
					now = now.Add(d)
				} else if step == "fail" {
					m.hold()
				} else {
					s := discovery.Snapshot{}
					list, doubted := strings.CutSuffix(step, "?")
					if doubted {
						s.Doubt = errStale
					}
					s.Instances = set(strings.ReplaceAll(list, "-", ""))
					if doubt := m.apply(s, now); doubted != errors.Is(doubt, errStale) {
						t.Errorf("step %q: doubt is %v", step, doubt)
					}
				}
				m.expire(now)
			}
			if got := m.String(); got != test.want {
				t.Errorf("after %q: %q, want %q", test.steps, got, test.want)
			}
		})
	}
}

// TestNextExpiry: expire tells when it has to be called again.
func TestNextExpiry(t *testing.T) {
	m, now := newMembership(Loss{}), time.Unix(0, 0)
	m.apply(discovery.Snapshot{Instances: set("a b c")}, now)
	if next := m.expire(now); !next.IsZero() {
		t.Errorf("nobody is absent, and somebody's time is over at %v", next)
	}
	m.apply(discovery.Snapshot{Instances: set("c")}, now)
	m.apply(discovery.Snapshot{}, now.Add(time.Minute)) // c: the only one
	if next, want := m.expire(now), now.Add(DefaultHold); !next.Equal(want) {
		t.Errorf("first expiry at %v, want %v", next, want)
	}
	if next, want := m.expire(now.Add(DefaultHold)), now.Add(DefaultHold+time.Minute); !next.Equal(want) {
		t.Errorf("second expiry at %v, want %v", next, want)
	}
	if next := m.expire(now.Add(DefaultHold + time.Minute)); !next.IsZero() || m.size() != 0 {
		t.Errorf("after all: next %v, %d left", next, m.size())
	}
}

// FuzzMembership: whatever a source says, nobody who is listed is missing or absent,
// and a loss of at most half in one answer that is vouched for leaves nobody absent anew.
func FuzzMembership(f *testing.F) {
	f.Add([]byte{15, 1, 128 + 3, 7, 64, 0})
	f.Fuzz(func(t *testing.T, answers []byte) {
		m, now := newMembership(Loss{}), time.Unix(0, 0)
		for _, b := range answers {
			now = now.Add(time.Minute)
			m.expire(now)
			s := discovery.Snapshot{}
			for n := range 6 {
				if b&(1<<n) != 0 {
					s.Instances = append(s.Instances, discovery.Instance{ID: string(rune('a' + n))})
				}
			}
			vouched := b&128 == 0
			if !vouched {
				s.Doubt = errStale
			}
			before, absent, held := maps.Clone(m.listed), len(m.absent), m.held
			m.apply(s, now)
			if len(m.listed) != len(s.Instances) {
				t.Fatalf("listed %v of %v", m, s.Instances)
			}
			lost := 0
			for id := range before {
				if _, still := m.listed[id]; !still {
					lost++
				}
			}
			for id := range m.absent {
				if _, both := m.listed[id]; both {
					t.Fatalf("%q is listed and absent", id)
				}
			}
			if vouched && !held && len(before) != 1 && 2*lost <= len(before) && len(m.absent) > absent {
				t.Fatalf("%d of %d lost, and %v", lost, len(before), m)
			}
			if !vouched && m.size() < len(before) {
				t.Fatalf("a doubted answer removed somebody: %v after %v", m, before)
			}
		}
	})
}

func TestLossValidate(t *testing.T) {
	for _, l := range []Loss{{}, ApplyAtOnce(), Hold(0), Hold(time.Hour)} {
		if err := l.Validate(); err != nil {
			t.Error(err)
		}
	}
	if err := Hold(-1).Validate(); err == nil || !strings.Contains(err.Error(), "Hold -1ns") {
		t.Errorf("Hold(-1): %v", err)
	}
}
