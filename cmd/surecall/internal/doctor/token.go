package doctor

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/hashicorp/consul/api"

	"github.com/surecall/surecall/discovery"
)

// token looks whether Consul knows the token, and lets it see the service. What it may
// not see is no error of Consul's: it answers with an empty list.
func (w *walk) token(ctx context.Context) bool {
	_, _, err := w.client.ACL().TokenReadSelf(options(ctx))
	var status api.StatusError
	errors.As(err, &status)
	switch {
	case status.Code == http.StatusUnauthorized && strings.Contains(status.Body, "ACL support disabled"):
		return w.ok("token", "ACLs are off: none is needed")
	case status.Code == http.StatusForbidden && w.tokenFrom != "":
		return w.fault("token", fmt.Sprintf("Consul does not know the token from %s: %s", w.tokenFrom, w.short(status.Body)),
			"put a valid one there: consul acl token create, or consul acl token list to see which exist")
	case err != nil && status.Code != http.StatusForbidden && status.Code != http.StatusNotFound:
		return w.fault("token", "Consul cannot check the token: "+w.consulProblem(err), "look at the log of Consul's servers: consul monitor")
	}
	if w.query.Prepared != "" {
		return w.ok("token", "the prepared query says what it may see")
	}
	entries, meta, err := w.find(ctx, w.query, "")
	if err != nil {
		return w.findFault("token", err)
	}
	whose := "the token from " + w.tokenFrom
	if w.tokenFrom == "" {
		whose = "the anonymous token"
	}
	if len(entries) > 0 && !meta.ResultsFilteredByACLs {
		return w.ok("token", "%s sees the service and its nodes", whose)
	}
	if len(entries) > 0 {
		return w.warn("token", whose+" sees only some of the instances: node:read is missing on nodes of others", w.rules())
	}
	deny := meta.DefaultACLPolicy == "deny" && w.tokenFrom == ""
	if !meta.ResultsFilteredByACLs && !deny {
		return w.ok("token", "%s may see what there is", whose)
	}
	// Without service:read an agent refuses to tell even whether it has such an instance.
	_, _, err = w.client.Agent().AgentHealthServiceByNameOpts(w.query.Service, options(ctx))
	switch {
	case meta.ResultsFilteredByACLs && err == nil:
		return w.fault("token", whose+" lacks node:read: Consul answers an empty list", w.rules())
	case w.tokenFrom == "":
		return w.fault("token", "no token is set and Consul's policy is to deny: it answers an empty list, whatever there is",
			"set CONSUL_HTTP_TOKEN_FILE or CONSUL_HTTP_TOKEN to a token whose policy says "+w.rule())
	default:
		return w.fault("token", fmt.Sprintf("%s lacks service:read on %q: Consul answers an empty list", whose, w.query.Service), w.rules())
	}
}

func (w *walk) rules() string {
	return "give it a policy that says " + w.rule() + ": consul acl policy create, consul acl token update"
}

func (w *walk) rule() string {
	return fmt.Sprintf(`service %q { policy = "read" } node_prefix "" { policy = "read" }`, w.query.Service)
}

// find reads the instances of every health that q means, but for its tags, and those that
// the filter lets through.
func (w *walk) find(ctx context.Context, q discovery.Query, filter string) ([]*api.ServiceEntry, *api.QueryMeta, error) {
	opts := (&api.QueryOptions{
		Datacenter: q.Datacenter, Namespace: q.Namespace, Partition: q.Partition, Peer: q.Peer, Filter: filter,
	}).WithContext(ctx)
	entries, meta, err := w.client.Health().Service(q.Service, "", false, opts)
	return whole(entries), meta, err
}

// findFault tells of a read of the service that failed.
func (w *walk) findFault(name string, err error) bool {
	var status api.StatusError
	errors.As(err, &status)
	remedy := "look at the log of the agent and of Consul's servers: consul monitor"
	switch {
	case status.Code == http.StatusForbidden:
		remedy = w.rules()
	case status.Code == http.StatusBadRequest:
		remedy = "take ns and partition out of the target and CONSUL_NAMESPACE and CONSUL_PARTITION out of the environment: Consul's community edition has neither"
	case isTimeout(err):
		remedy = "look whether Consul's servers are overloaded or cut off: consul operator raft list-peers"
	}
	return w.fault(name, "Consul cannot be asked for the service: "+w.consulProblem(err), remedy)
}

// whole leaves out entries that lack a part.
func whole(entries []*api.ServiceEntry) []*api.ServiceEntry {
	kept := make([]*api.ServiceEntry, 0, len(entries))
	for _, e := range entries {
		if e != nil && e.Node != nil && e.Service != nil {
			kept = append(kept, e)
		}
	}
	return kept
}

// catalog returns the services of a datacenter that the token may see, and their tags.
func (w *walk) catalog(ctx context.Context, dc string) (map[string][]string, error) {
	opts := (&api.QueryOptions{Datacenter: dc, Namespace: w.query.Namespace, Partition: w.query.Partition}).WithContext(ctx)
	services, _, err := w.client.Catalog().Services(opts)
	return services, err
}
