package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/surecall/surecall/discovery"
)

const (
	mostDialled = 20
	atOnce      = 16
)

// stages are the steps that each instance is put through, in their order.
var stages = names[8:]

// finding is what a stage found at an instance.
type finding struct {
	stage, what, remedy string
}

// probe is what became of one instance.
type probe struct {
	discovery.Instance
	spoke spoke    // how it answers
	fault *finding // where it failed, or nil
	warns []finding
	until string // how long its certificate is valid, and for which name
	ends  time.Time
}

// call puts the instances through all stages, and tells of each stage over all of them.
func (w *walk) call(ctx context.Context) bool {
	set := w.instances
	slices.SortFunc(set, func(a, b discovery.Instance) int { return strings.Compare(a.Address, b.Address) })
	left := ""
	if len(set) > mostDialled {
		left = fmt.Sprintf("; %d more are left out", len(set)-mostDialled)
		set = set[:mostDialled]
	}
	probes := w.probe(ctx, set)
	for _, stage := range stages {
		reached := len(probes)
		probes = w.judge(stage, probes, left)
		if len(probes) == 0 && reached > 0 {
			return false
		}
		left = ""
	}
	return true
}

// probe asks all of set, some at a time.
func (w *walk) probe(ctx context.Context, set []discovery.Instance) []*probe {
	probes := make([]*probe, len(set))
	slots := make(chan struct{}, atOnce)
	var all sync.WaitGroup
	for i := range set {
		all.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			p := &probe{Instance: set[i]}
			p.fault = w.examine(ctx, p)
			probes[i] = p
		})
	}
	all.Wait()
	return probes
}

// examine returns the first fault of an instance.
func (w *walk) examine(ctx context.Context, p *probe) *finding {
	for _, stage := range []func(context.Context, *probe) *finding{w.listen, w.greet, w.certified, w.healthy} {
		if f := stage(ctx, p); f != nil {
			return f
		}
	}
	return nil
}

// judge tells what a stage found, and returns the instances that passed it.
func (w *walk) judge(stage string, probes []*probe, left string) []*probe {
	var passed []*probe
	var faults, warns []*probe
	for _, p := range probes {
		if p.fault != nil && p.fault.stage == stage {
			faults = append(faults, p)
			continue
		}
		passed = append(passed, p)
		if slices.ContainsFunc(p.warns, func(f finding) bool { return f.stage == stage }) {
			warns = append(warns, p)
		}
	}
	for _, g := range grouped(faults, func(p *probe) finding { return *p.fault }) {
		what := fmt.Sprintf("%s: %s: %s", share(len(g.who), len(probes)), g.what, some(g.who))
		if stage == "draining" && len(passed) > 0 {
			w.warn(stage, what, g.remedy) // a part of every deploy
			continue
		}
		w.fault(stage, what+left, g.remedy)
	}
	for _, g := range grouped(warns, func(p *probe) finding {
		return p.warns[slices.IndexFunc(p.warns, func(f finding) bool { return f.stage == stage })]
	}) {
		w.warn(stage, fmt.Sprintf("%s: %s: %s", share(len(g.who), len(probes)), g.what, some(g.who)), g.remedy)
	}
	if len(faults)+len(warns) > 0 {
		return passed
	}
	if stage == "protocol" && w.mixed(passed) {
		return passed
	}
	if text := praise(stage, passed); text != "" {
		w.ok(stage, "%s%s", text, left)
	} else {
		w.tell(Step{Name: stage, Status: Skip, Text: "the instances speak no TLS"})
	}
	return passed
}

// group is instances of which the same was found.
type group struct {
	finding
	who []string
}

// grouped puts together what is the same, the commonest first.
func grouped(probes []*probe, of func(*probe) finding) []group {
	var groups []group
	for _, p := range probes {
		f := of(p)
		i := slices.IndexFunc(groups, func(g group) bool { return g.what == f.what })
		if i < 0 {
			i = len(groups)
			groups = append(groups, group{finding: f})
		}
		groups[i].who = append(groups[i].who, p.name())
	}
	slices.SortStableFunc(groups, func(a, b group) int { return len(b.who) - len(a.who) })
	return groups
}

// name is an instance in a line.
func (p *probe) name() string {
	if p.ID == "" || p.ID == p.Address {
		return p.Address
	}
	return short(p.ID) + " at " + p.Address
}

// mixed tells of instances of which some speak TLS and others do not: no client can call
// both.
func (w *walk) mixed(probes []*probe) bool {
	var secure, plain []string
	for _, p := range probes {
		if p.spoke.both {
			continue
		}
		if p.spoke.tls {
			secure = append(secure, p.name())
		} else {
			plain = append(plain, p.name())
		}
	}
	if len(secure) == 0 || len(plain) == 0 {
		return false
	}
	w.fault("protocol", fmt.Sprintf("%d speak TLS (%s) and %d plaintext (%s): no client can call both", len(secure), some(secure), len(plain), some(plain)),
		"give all instances TLS, or none; until then tell them apart by a tag")
	return true
}

// praise says that all is well at a stage, or nothing if it was not asked.
func praise(stage string, probes []*probe) string {
	all := len(probes)
	var first *probe // of those in TLS the one whose certificate ends first
	for _, p := range probes {
		if p.spoke.tls && (first == nil || p.ends.Before(first.ends)) {
			first = p
		}
	}
	switch stage {
	case "dial":
		return share(all, all) + ": connected"
	case "protocol":
		if first != nil {
			return "gRPC over TLS: call with WithTransportCredentials"
		}
		return "gRPC in plaintext: call with WithInsecure"
	case "tls":
		if first == nil {
			return ""
		}
		return first.until
	case "auth":
		return "the health check is let through"
	case "draining":
		return "none announces that it leaves"
	default:
		return share(all, all) + ": SERVING"
	}
}
