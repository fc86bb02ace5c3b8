package consul

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/consul/api"

	"github.com/surecall/surecall/discovery"
)

// Explain implements [discovery.Explainer] with one read of the service's instances of
// every health and tag:
//
//	Consul has 1, critical: TTL expired
//	Consul has 3: 1 maintenance, 2 critical: disk swap
//	Consul has 2, none with the tags [v2]
//	the prepared query "near" finds none of "orders": Consul has 1, critical: TTL expired
//	Consul knows no service "orders" in datacenter "dc2"
//	Consul hides the instances: the token may lack service:read or node:read
//	Consul is unreachable: agent 127.0.0.1:8500: dial tcp 127.0.0.1:8500: connect: connection refused
//
// For a query that can never work it says why.
func (s *Source) Explain(ctx context.Context, q discovery.Query) string {
	q, err := s.hub.agent.normalize(q)
	if err != nil {
		return clause(err.Error())
	}
	ctx, cancel := bounded(ctx, writeTimeout)
	defer cancel()
	if q.Prepared != "" {
		return s.explainPrepared(ctx, q)
	}
	return s.explain(ctx, q)
}

func (s *Source) explain(ctx context.Context, q discovery.Query) string {
	wide := q
	wide.Tags = nil
	var body explained
	meta, err := s.hub.agent.api.Raw().Query("/v1/health/service/"+q.Service, &body, options(ctx, wide))
	if err != nil {
		return explainError(s.hub.agent.scrub(err))
	}
	if len(body.entries.list) == 0 {
		token, _ := s.hub.agent.token()
		return explainNone(q, meta, token != "")
	}
	return explainSome(q, body)
}

// explainPrepared says what a prepared query finds, and if that is nothing, what there is
// of the service that it looks for.
func (s *Source) explainPrepared(ctx context.Context, q discovery.Query) string {
	var x struct {
		execution
		Nodes explained
	}
	if _, err := s.hub.agent.api.Raw().Query(executePath(q), &x, executeOptions(ctx, q)); notFound(err) {
		return fmt.Sprintf("Consul has no prepared query %q", q.Prepared)
	} else if err != nil {
		return explainError(s.hub.agent.scrub(err))
	}
	if len(x.Nodes.entries.list) > 0 {
		return explainSome(q, x.Nodes)
	}
	why := s.explain(ctx, discovery.Query{Service: x.Service, Datacenter: x.Datacenter, Accept: q.Accept})
	return fmt.Sprintf("the prepared query %q finds none of %q: %s", q.Prepared, x.Service, why)
}

// explained is an answer together with what its checks printed.
type explained struct {
	entries entries
	output  []string // per entry, of its worst check
}

// UnmarshalJSON implements json.Unmarshaler.
func (x *explained) UnmarshalJSON(body []byte) error {
	if err := x.entries.UnmarshalJSON(body); err != nil {
		return err
	}
	x.output = outputs(bytes.TrimSpace(body))
	return nil
}

func explainError(err error) string {
	var status api.StatusError
	if errors.As(err, &status) {
		return fmt.Sprintf("Consul answers %d: %s", status.Code, clause(status.Body))
	}
	return "Consul is unreachable: " + clause(err.Error())
}

// explainNone says why there is nothing at all.
func explainNone(q discovery.Query, meta *api.QueryMeta, token bool) string {
	if meta.ResultsFilteredByACLs {
		return "Consul hides the instances: " + forbidden
	}
	if meta.DefaultACLPolicy == "deny" && !token {
		return fmt.Sprintf("Consul shows no service %q: no token is set and its policy is to deny", q.Service)
	}
	where := ""
	for _, place := range []struct{ name, value string }{
		{"datacenter", q.Datacenter}, {"namespace", q.Namespace}, {"partition", q.Partition}, {"peer", q.Peer},
	} {
		if place.value != "" {
			where += fmt.Sprintf(" in %s %q", place.name, place.value)
		}
	}
	if q.Filter != "" {
		return fmt.Sprintf("Consul has none of service %q%s that matches the filter", q.Service, where)
	}
	return fmt.Sprintf("Consul knows no service %q%s", q.Service, where)
}

// explainSome says why those that there are do not serve.
func explainSome(q discovery.Query, body explained) string {
	var counts [discovery.Maintenance + 1]int
	var tagged, total, used int
	why := ""
	for i := range body.entries.list {
		e := &body.entries.list[i]
		total++
		if !hasTags(e.Service.Tags, q.Tags) {
			continue
		}
		tagged++
		h, _ := health(e.Checks)
		counts[h]++
		if q.Accept.Accepts(h, false) {
			used++
		} else if why == "" && i < len(body.output) {
			why = clause(body.output[i])
		}
	}
	if tagged == 0 {
		return fmt.Sprintf("Consul has %d, none with the tags %v", total, q.Tags)
	}
	if used > 0 && why == "" {
		if d := decode(body.entries, q); len(d.problems) > 0 {
			why = clause(d.problems[0].String())
		}
	}
	var healths []string
	for h := discovery.Maintenance + 1; h > 0; h-- {
		if n := counts[h-1]; n > 0 {
			healths = append(healths, fmt.Sprintf("%d %v", n, h-1))
		}
	}
	text := fmt.Sprintf("Consul has %d: %s", tagged, strings.Join(healths, ", "))
	if tagged == 1 {
		text = "Consul has 1, " + strings.TrimPrefix(healths[0], "1 ")
	}
	if why != "" {
		text += ": " + why
	}
	return text
}

// hasTags reports whether have holds all of want, whose case is low.
func hasTags(have, want []string) bool {
	for _, tag := range want {
		if !slices.ContainsFunc(have, func(t string) bool { return strings.EqualFold(t, tag) }) {
			return false
		}
	}
	return true
}

// clause makes one short line of text from outside.
func clause(text string) string {
	const most = 160
	text = strings.Join(strings.Fields(strings.ToValidUTF8(text, "\uFFFD")), " ")
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return cmp.Or(text, "no reason given")
}
