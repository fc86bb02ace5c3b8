package doctor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/consul/api"

	"github.com/surecall/surecall/discovery"
)

// mostDatacenters bounds how many others are asked for the service.
const mostDatacenters = 8

// service looks whether Consul knows the service.
func (w *walk) service(ctx context.Context) bool {
	if w.query.Prepared != "" {
		return w.prepared(ctx)
	}
	entries, _, err := w.find(ctx, w.query, "")
	if err != nil {
		return w.findFault("service", err)
	}
	w.entries = entries
	if len(entries) > 0 {
		return w.ok("service", "Consul has %s of %q", count(len(entries), "instance"), w.query.Service)
	}
	if w.standIn(ctx) {
		return true
	}
	services, err := w.catalog(ctx, w.query.Datacenter)
	if err != nil {
		return w.findFault("service", err)
	}
	what := fmt.Sprintf("Consul knows no service %q%s", w.query.Service, w.where())
	if _, here := services[w.query.Service]; here && w.query.Peer != "" {
		return w.fault("service", what+", but without the peer it does", "take peer out of the target, or let the peer export the service: consul peering list")
	}
	if elsewhere := w.elsewhere(ctx); len(elsewhere) > 0 {
		return w.fault("service", fmt.Sprintf("%s, but datacenter %s has it", what, some(elsewhere)),
			fmt.Sprintf("write consul:///%s?dc=%s", w.query.Service, elsewhere[0]))
	}
	if near := similar(w.query.Service, slices.Collect(maps.Keys(services))); len(near) > 0 {
		return w.fault("service", fmt.Sprintf("%s; it knows %s", what, some(near)), "write consul:///"+near[0]+", or register under the name that callers use")
	}
	return w.fault("service", fmt.Sprintf("%s, nor one of a similar name among %d", what, len(services)),
		"start an instance and look at its log for the registration; consul catalog services lists what is there")
}

// standIn goes on with the first of the target's other datacenters that has the service,
// as clients do.
func (w *walk) standIn(ctx context.Context) bool {
	for _, dc := range w.query.Failover {
		q := w.query
		q.Datacenter = dc
		entries, _, err := w.find(ctx, q, "")
		if err != nil || len(entries) == 0 {
			continue
		}
		w.warn("service", fmt.Sprintf("datacenter %s has no instance of %q: %s stands in, and is looked at here", w.query.Datacenter, w.query.Service, dc),
			"start instances there, or name "+dc+" first in dc")
		w.entries, w.query = entries, q
		return true
	}
	return false
}

// where says in which part of Consul the service was looked for.
func (w *walk) where() string {
	where := ""
	for _, place := range [][2]string{
		{"datacenter", w.query.Datacenter}, {"namespace", w.query.Namespace}, {"partition", w.query.Partition}, {"peer", w.query.Peer},
	} {
		if place[1] != "" {
			where += fmt.Sprintf(" in %s %q", place[0], place[1])
		}
	}
	return where
}

// elsewhere returns the other datacenters that have the service.
func (w *walk) elsewhere(ctx context.Context) []string {
	known, err := w.datacenters(ctx)
	if err != nil || len(known) < 2 || w.query.Peer != "" {
		return nil
	}
	known = known[:min(len(known), mostDatacenters+1)]
	has := make([]bool, len(known))
	var all sync.WaitGroup
	for i, dc := range known {
		all.Go(func() {
			q := w.query
			q.Datacenter = dc
			entries, _, err := w.find(ctx, q, "")
			has[i] = err == nil && len(entries) > 0
		})
	}
	all.Wait()
	var found []string
	for i, dc := range known {
		if has[i] && !strings.EqualFold(dc, w.query.Datacenter) {
			found = append(found, dc)
		}
	}
	return found
}

// prepared executes the prepared query: what it finds is what a client gets.
func (w *walk) prepared(ctx context.Context) bool {
	opts := (&api.QueryOptions{Datacenter: w.query.Datacenter}).WithContext(ctx)
	answer, _, err := w.client.PreparedQuery().Execute(w.query.Prepared, opts)
	var status api.StatusError
	if errors.As(err, &status) && status.Code == http.StatusNotFound {
		return w.fault("service", fmt.Sprintf("Consul has no prepared query %q", w.query.Prepared),
			"list them with curl $CONSUL_HTTP_ADDR/v1/query, and correct prepared-query in the target or create it")
	}
	if err != nil {
		return w.findFault("service", err)
	}
	for i := range answer.Nodes {
		w.entries = append(w.entries, &answer.Nodes[i])
	}
	w.entries = whole(w.entries)
	if len(w.entries) == 0 {
		return w.fault("service", w.explain(ctx), "correct the prepared query, or the health of the instances that it looks for")
	}
	return w.ok("service", "the prepared query %q finds %s of %q", w.query.Prepared, count(len(w.entries), "instance"), answer.Service)
}

// explain is what package discovery/consul says of a query that finds nothing.
func (w *walk) explain(ctx context.Context) string {
	if e, ok := w.source.(discovery.Explainer); ok {
		q := w.query
		q.Failover = nil // a source is asked for one datacenter at a time
		return e.Explain(ctx, q)
	}
	return "nothing is found"
}
