package doctor

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/consul/api"

	"github.com/surecall/surecall/discovery"
)

// checks looks at the health that Consul gives each instance.
func (w *walk) checks(ctx context.Context) bool {
	usable := slices.ContainsFunc(w.entries, func(e *api.ServiceEntry) bool { return healthOf(e) <= discovery.Warning })
	var used, unused, unchecked []*api.ServiceEntry
	for _, e := range w.entries {
		switch {
		case !w.query.Accept.Accepts(healthOf(e), usable):
			unused = append(unused, e)
		case !slices.ContainsFunc(e.Checks, func(c *api.HealthCheck) bool { return c != nil && c.ServiceID != "" }):
			unchecked = append(unchecked, e)
			fallthrough
		default:
			used = append(used, e)
		}
	}
	all := len(w.entries)
	if len(used) == 0 {
		what, remedy := w.illness(ctx, unused[0])
		return w.fault("checks", fmt.Sprintf("none is used: %s: %s: %s", w.explain(ctx), label(unused[0]), what), remedy)
	}
	if len(unused) > 0 {
		what, remedy := w.illness(ctx, unused[0])
		w.warn("checks", fmt.Sprintf("%d of %d are not used: %s: %s", len(unused), all, label(unused[0]), what), remedy)
	} else {
		w.ok("checks", "%s", counts(used))
	}
	if len(unchecked) > 0 {
		w.warn("checks", fmt.Sprintf("%d of %d have no health check of their own: Consul lists them when they are dead: %s", len(unchecked), all, labels(unchecked)),
			"register a TTL or gRPC check with the service; package lifecycle does")
	}
	w.entries = used
	return true
}

// healthOf is the worst of the checks, as package discovery names it.
func healthOf(e *api.ServiceEntry) discovery.Health {
	c := worst(e)
	switch {
	case c == nil:
		return discovery.Passing
	case isMaintenance(c):
		return discovery.Maintenance
	}
	var h discovery.Health
	if err := h.UnmarshalText([]byte(c.Status)); err != nil {
		return discovery.Critical
	}
	return h
}

// worst is the check that decides, or nil.
func worst(e *api.ServiceEntry) *api.HealthCheck {
	var found *api.HealthCheck
	for _, c := range e.Checks {
		if c != nil && (found == nil || severity(c) > severity(found)) {
			found = c
		}
	}
	return found
}

func severity(c *api.HealthCheck) int {
	switch {
	case isMaintenance(c):
		return 3
	case c.Status == api.HealthPassing:
		return 0
	case c.Status == api.HealthWarning:
		return 1
	default:
		return 2
	}
}

func isMaintenance(c *api.HealthCheck) bool {
	return c.CheckID == api.NodeMaint || strings.HasPrefix(c.CheckID, api.ServiceMaintPrefix)
}

// illness says why an instance is not used, and what to do.
func (w *walk) illness(ctx context.Context, e *api.ServiceEntry) (what, remedy string) {
	c := worst(e)
	name := fmt.Sprintf("check %q", short(cmp.Or(c.Name, c.CheckID)))
	switch {
	case c.CheckID == api.NodeMaint:
		return fmt.Sprintf("its node %s is in maintenance: %s", e.Node.Node, short(c.Notes)), "on that node: consul maint -disable"
	case isMaintenance(c):
		return "it is in maintenance: " + short(c.Notes), fmt.Sprintf("on node %s: consul maint -disable -service=%s", e.Node.Node, e.Service.ID)
	case c.Status == api.HealthWarning:
		return name + " warns: " + short(c.Output), "mend what it warns of, or take healthy=true out of the target: instances with a warning are used then"
	case c.CheckID == "serfHealth":
		return fmt.Sprintf("the Consul agent of its node %s is gone", e.Node.Node), "start the agent there, or if the node is gone for good: consul force-leave " + e.Node.Node
	case strings.Contains(c.Output, "TTL expired") || c.Type == "ttl":
		return name + " is critical: " + short(c.Output), fmt.Sprintf("the process hangs, is dead or sends no heart-beats: look at its log; if it is gone for good, on node %s: consul services deregister -id=%s", e.Node.Node, e.Service.ID)
	}
	output := cmp.Or(c.Output, w.output(ctx, e, c))
	if output == "" {
		return name + " is critical, and Consul does not know yet why",
			fmt.Sprintf("ask the agent on node %s, /v1/agent/checks: it tells the servers at once that a check fails, and what it printed within 5 min", e.Node.Node)
	}
	return name + " is critical: " + short(output), fmt.Sprintf("let the agent on node %s reach what the check asks, and the server answer it", e.Node.Node)
}

// output asks the agent what a check of one of its own services printed: the servers,
// which the catalog is of, may be told minutes later.
func (w *walk) output(ctx context.Context, e *api.ServiceEntry, c *api.HealthCheck) string {
	_, info, err := w.client.Agent().AgentHealthServiceByIDOpts(e.Service.ID, options(ctx))
	if err != nil || info == nil {
		return ""
	}
	for _, own := range info.Checks {
		if own != nil && own.CheckID == c.CheckID {
			return own.Output
		}
	}
	return ""
}

func label(e *api.ServiceEntry) string {
	return short(cmp.Or(e.Service.ID, e.Service.Service, e.Node.Node))
}

func labels(entries []*api.ServiceEntry) string {
	var ids []string
	for _, e := range entries {
		ids = append(ids, label(e))
	}
	return some(ids)
}

// counts says "3 passing, 1 warning".
func counts(entries []*api.ServiceEntry) string {
	var n [discovery.Maintenance + 1]int
	for _, e := range entries {
		n[healthOf(e)]++
	}
	var parts []string
	for h, n := range n {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d %v", n, discovery.Health(h)))
		}
	}
	return strings.Join(parts, ", ")
}
