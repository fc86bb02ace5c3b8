package surecall_test

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/surecalltest"
)

// largest is a document with as many patterns as there can be, of which each says something
// of all there is.
func largest() string {
	const all = `"deadline":"9s","attempt_timeout":{},"retry":{},"hedge":false,"idempotent":true,"call_id":true,"concurrency":{},"rate":false,"throttle":{},"replay_buffer":9,"cache":{},"fallback_reserve":"1ms"`
	patterns := make([]string, 1000)
	for n := range patterns {
		patterns[n] = fmt.Sprintf(`"/a.B/C%d*":{%s}`, n, all)
	}
	return `{"methods":{` + strings.Join(patterns, ",") + `}}`
}

// The largest document costs little memory, even over another that is as large.
func TestLargestPolicyDocument(t *testing.T) {
	bubble(t, func(t *testing.T) {
		owner, caller := newPaper("{}"), newPaper("{}")
		client := ready(t, surecalltest.NewCluster(t, 1), surecall.WithOwnerPolicy(owner), surecall.WithCallerPolicy(caller))
		text := largest()
		for name, p := range map[string]*paper{"owner": owner, "caller": caller} {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			p.says(text)
			runtime.ReadMemStats(&after)
			if l := layer(t, client, name); l.Refused != "" || len(l.Sets) != 12_000 {
				t.Errorf("%s: %d keys, refused for %q: want 12,000", name, len(l.Sets), l.Refused)
			}
			if mib := (after.TotalAlloc - before.TotalAlloc) >> 20; mib > 300 {
				t.Errorf("%s: to read and apply %d KiB took %d MiB", name, len(text)>>10, mib)
			}
		}
	})
}

// What is kept and told of an error is bounded, whatever a source says.
func TestPolicyErrorsAreBounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p, events := newPaper("{}"), &log{}
		client := ready(t, surecalltest.NewCluster(t, 1), events.option(), surecall.WithOwnerPolicy(p))
		p.set(nil, errors.New("a proxy says: "+strings.Repeat("é", 1<<20)))
		p.set(nil, errors.New("a proxy says: "+strings.Repeat("é", 1<<20)))
		p.says(strings.ReplaceAll(largest(), `"throttle":{}`, `"throttle":{},"method_breaker":{}`))
		told := eventsOf[event.PolicyRefused](events)
		if len(told) != 2 || !strings.Contains(told[0].Err.Error(), "a proxy says") || !strings.Contains(told[1].Err.Error(), "with what else is in force") {
			t.Fatalf("told %d times: want each once", len(told))
		}
		for _, e := range told {
			if n := len(e.Err.Error()); n > 17<<10 {
				t.Errorf("told %d bytes", n)
			}
		}
		if l := layer(t, client, "owner"); l.Refused != told[1].Err.Error() {
			t.Errorf("%d bytes are kept", len(l.Refused))
		}
	})
}
