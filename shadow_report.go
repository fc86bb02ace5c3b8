package surecall

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/surecall/surecall/balancer"
	"github.com/surecall/surecall/event"
)

// ShadowReport says what a client in shadow mode would have done: see [WithShadow].
type ShadowReport struct {
	On    bool      // else the report is of when it was on last
	Since time.Time // when it was switched on; zero: never
	Calls uint64    // that have begun since
	// Methods has those first that need an idempotency level, by the number of calls that one
	// might have saved; then all others that were called, by the number of calls. Of more
	// than 4,096 methods, those that found no place are one, "(others)".
	Methods []ShadowMethod
	// Instances are those that are known now.
	Instances []ShadowInstance
}

// ShadowMethod is what would have become of the calls of one method. Each decision is taken
// as if the call were as it would have been until then: of the attempts that would have
// followed nothing is known, and so nothing that would have followed from those.
type ShadowMethod struct {
	Method string
	Calls  uint64 // that have begun
	Failed uint64 // of those that have ended
	// Saved is how many of those that failed would have had another attempt.
	Saved uint64
	// WouldRetry is after how many attempts another would have been made, by why: the code
	// of the error, "attempt timeout" or "hang".
	WouldRetry map[string]uint64
	// WouldDeny is after how many another would have been due, and been denied.
	WouldDeny map[event.Denial]uint64
	// WouldReject is how many calls would have been rejected, by the first reason.
	WouldReject map[string]uint64
	WouldCut    uint64 // of WouldRetry, attempts that would have been cut off
	WouldHedge  uint64 // attempts that would have been sent beside another
	WouldWait   uint64 // calls that would have waited in a queue of ours
	WouldExpire uint64 // calls that took longer than the call deadline that they would have had

	// NeedsIdempotency is whether the method needs an idempotency level in its proto file, or
	// [WithIdempotent]: if it may be executed twice, Unsaved calls would have had another
	// attempt. They failed after their instance may have executed them.
	NeedsIdempotency bool
	Unsaved          uint64
}

// ShadowInstance is what would have become of one instance.
type ShadowInstance = balancer.Rehearsal

// Shadow returns the report of the shadow mode that is on, or was on last. It may be called
// at any time and costs the calls nothing.
func (c *Client) Shadow() ShadowReport { return c.core.shadowReport() }

func (c *core) shadowReport() ShadowReport {
	l := c.ledger.Load()
	if l == nil {
		return ShadowReport{}
	}
	r := ShadowReport{On: c.state.Load().dry != nil, Since: l.since, Instances: c.fleet.Rehearsals()}
	l.mu.Lock()
	methods := maps.Clone(l.methods)
	l.mu.Unlock()
	methods["(others)"] = l.others
	for name, counted := range methods {
		if m := counted.report(name); m.Calls > 0 {
			r.Methods, r.Calls = append(r.Methods, m), r.Calls+m.Calls
		}
	}
	slices.SortFunc(r.Methods, func(a, b ShadowMethod) int {
		return cmp.Or(cmp.Compare(b.Unsaved, a.Unsaved), cmp.Compare(b.Calls, a.Calls), cmp.Compare(a.Method, b.Method))
	})
	return r
}

func (r *rehearsal) report(name string) ShadowMethod {
	w := &r.would
	m := ShadowMethod{
		Method: name, Calls: r.calls.Load(), Failed: r.failed.Load(), Saved: r.mended.Load(),
		WouldRetry: counts(w.retried[:], retryReasons[:]), WouldReject: counts(w.rejected[:], rejectionNames[:]),
		WouldCut:   w.retried[afterTimeout].Load() + w.retried[afterHang].Load(),
		WouldHedge: w.hedges.Load(), WouldWait: r.waits.Load(), WouldExpire: r.expired.Load(),
	}
	for n, why := range denials {
		if counted := w.denied[n].Load(); counted > 0 {
			if m.WouldDeny == nil {
				m.WouldDeny = map[event.Denial]uint64{}
			}
			m.WouldDeny[why] = counted
		}
	}
	m.Unsaved = m.WouldDeny[event.NotIdempotent]
	m.NeedsIdempotency = m.Unsaved > 0
	return m
}

// String returns the report as two tables, and a line for each method that needs an
// idempotency level.
func (r ShadowReport) String() string {
	if r.Since.IsZero() {
		return "shadow mode was never on"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "shadow mode since %s: %d calls\n", r.Since.Format(time.DateTime), r.Calls)
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	if len(r.Methods) > 0 {
		_, _ = fmt.Fprintln(t, "\nmethod\tcalls\tfailed\tof them saved\twould retry\twould deny\twould reject\twould hedge\twould wait\twould expire")
	}
	for _, m := range r.Methods {
		_, _ = fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%s\t%s\t%s\t%d\t%d\t%d\n",
			m.Method, m.Calls, m.Failed, m.Saved, list(m.WouldRetry), list(m.WouldDeny), list(m.WouldReject), m.WouldHedge, m.WouldWait, m.WouldExpire)
	}
	if len(r.Instances) > 0 {
		_, _ = fmt.Fprintln(t, "\ninstance\taddress\twould eject\twould avoid\tfull\twould be now")
	}
	for _, i := range r.Instances {
		now := string(i.Now)
		if i.Why != "" {
			now += ": " + event.Mask(i.Why)
		}
		_, _ = fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%d\t%s\n", i.ID, i.Address, i.Ejections, i.Avoided, i.Full, now)
	}
	_ = t.Flush() // a strings.Builder takes all
	for n, m := range r.Methods {
		if !m.NeedsIdempotency {
			break
		}
		if n == 0 {
			b.WriteString("\nneed an idempotency level, if they may be executed twice:\n")
		}
		fmt.Fprintf(&b, "  %s: %d calls would have had another attempt\n", m.Method, m.Unsaved)
	}
	return b.String()
}

// list returns counts as "3 UNAVAILABLE, 1 hang", the most first.
func list[K ~string](counts map[K]uint64) string {
	keys := slices.SortedFunc(maps.Keys(counts), func(a, b K) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b))
	})
	if len(keys) == 0 {
		return "0"
	}
	var parts []string
	for _, key := range keys {
		parts = append(parts, fmt.Sprintf("%d %s", counts[key], key))
	}
	return strings.Join(parts, ", ")
}
