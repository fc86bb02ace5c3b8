package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/consul/api"
)

// narrow looks what tags and filter leave of the service.
func (w *walk) narrow(ctx context.Context) bool {
	if w.query.Prepared != "" {
		return w.ok("query", "the prepared query says which instances")
	}
	all := len(w.entries)
	tagged := w.tagged(w.entries)
	if len(tagged) == 0 {
		have := tagsOf(w.entries)
		remedy := "register the instances with it, or take it out of the target"
		for _, tag := range w.query.Tags {
			if near := similar(tag, have); len(near) > 0 && !slices.ContainsFunc(have, func(h string) bool { return strings.EqualFold(h, tag) }) {
				remedy = "write tag=" + near[0]
			}
		}
		known := "they have none"
		if len(have) > 0 {
			known = "there are " + some(have)
		}
		return w.fault("query", fmt.Sprintf("%s %s the tag %s: %s", share(all, all), lacks(all), strings.Join(w.query.Tags, " and "), known), remedy)
	}
	if w.query.Filter != "" {
		passed, _, err := w.find(ctx, w.query, w.query.Filter)
		if err != nil {
			return w.fault("query", "Consul cannot evaluate the filter: "+w.consulProblem(err),
				`write the filter as in consul catalog nodes -filter, percent-encoded: filter=Service.Meta.version%20==%20%22v2%22; there is no < and no >`)
		}
		if len(passed) == 0 {
			return w.fault("query", fmt.Sprintf("the filter lets none through: not one of %d", all),
				"compare it with what is registered: consul catalog nodes -service="+w.query.Service+" -detailed")
		}
		if tagged = w.tagged(passed); len(tagged) == 0 {
			return w.fault("query", fmt.Sprintf("the filter lets %d through, and none of them has the tag %s", len(passed), strings.Join(w.query.Tags, " and ")),
				"take the filter or the tag out of the target, or register instances that fit both")
		}
	}
	w.entries = tagged
	if len(w.query.Tags)+len(w.query.Filter) == 0 {
		w.ok("query", "no tags, no filter: %s", share(all, all))
	} else {
		w.ok("query", "tags and filter leave %s", share(len(tagged), all))
	}
	if strings.Contains(w.query.Filter, `Checks.Status != `) {
		w.warn("query", "Checks.Status != matches each instance that has one other check: Consul looks for any, not for all",
			`write not Checks.Status == "critical", or leave it out: health is judged without it`)
	}
	if w.query.Near != "" {
		w.warn("query", "near turns off the push of changes: each costs Consul's servers a full read", "take near out of the target; the balancer prefers its own zone without it")
	}
	return true
}

func lacks(n int) string {
	if n == 1 {
		return "lacks"
	}
	return "lack"
}

// tagged are those of entries that have all tags of the query.
func (w *walk) tagged(entries []*api.ServiceEntry) []*api.ServiceEntry {
	var kept []*api.ServiceEntry
	for _, e := range entries {
		has := func(tag string) bool {
			return slices.ContainsFunc(e.Service.Tags, func(t string) bool { return strings.EqualFold(t, tag) })
		}
		if !slices.ContainsFunc(w.query.Tags, func(tag string) bool { return !has(tag) }) {
			kept = append(kept, e)
		}
	}
	return kept
}

// tagsOf lists all tags once.
func tagsOf(entries []*api.ServiceEntry) []string {
	var tags []string
	for _, e := range entries {
		tags = append(tags, e.Service.Tags...)
	}
	slices.Sort(tags)
	return slices.Compact(tags)
}
