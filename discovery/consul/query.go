package consul

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/surecall/surecall/discovery"
)

// normalize checks q and gives it the one form that equal queries share. The agent's
// own datacenter, namespace and partition stand in for empty ones.
func (e endpoint) normalize(q discovery.Query) (discovery.Query, error) {
	q.Service = strings.TrimRight(q.Service, "/") // "web/" is another, empty service
	var errs []error
	if q.Service == "" {
		errs = append(errs, errors.New("discovery/consul: query: Service is empty: want the name of a service"))
	}
	if elements := strings.Split(q.Service, "/"); slices.Contains(elements, "..") || slices.Contains(elements, ".") {
		errs = append(errs, fmt.Errorf("discovery/consul: query: Service %q: want no %q or %q element", q.Service, ".", ".."))
	}
	if q.Accept > discovery.AcceptAny {
		errs = append(errs, fmt.Errorf("discovery/consul: query: Accept %d: want at most %d", q.Accept, discovery.AcceptAny))
	}
	for _, err := range preparedConflicts(q, false) {
		errs = append(errs, fmt.Errorf("discovery/consul: query: %w", err))
	}
	if elements := strings.Split(q.Prepared, "/"); slices.Contains(elements, "..") || slices.Contains(elements, ".") {
		errs = append(errs, fmt.Errorf("discovery/consul: query: Prepared %q: want no %q or %q element", q.Prepared, ".", ".."))
	}
	if len(q.Failover) > 0 && q.Prepared == "" {
		errs = append(errs, fmt.Errorf("discovery/consul: query: Failover %q: a source watches one datacenter at a time: want one query for each", q.Failover))
	}
	tags := make([]string, 0, len(q.Tags))
	for _, tag := range q.Tags {
		if tag != "" {
			tags = append(tags, strings.ToLower(tag))
		}
	}
	slices.Sort(tags)
	q.Tags = slices.Compact(tags)
	q.Datacenter = cmp.Or(q.Datacenter, e.Datacenter)
	if q.Prepared == "" {
		q.Namespace = cmp.Or(q.Namespace, e.Namespace)
		q.Partition = cmp.Or(q.Partition, e.Partition)
	}
	return q, errors.Join(errs...)
}

// queryKey tells two normalized queries apart.
func queryKey(q discovery.Query) string { return fmt.Sprintf("%q", []any{q}) }

// options are those of every read of q. passing is never sent: the agent would drop
// instances in warning, and health is judged here.
func options(ctx context.Context, q discovery.Query) *api.QueryOptions {
	return (&api.QueryOptions{
		Datacenter: q.Datacenter, Namespace: q.Namespace, Partition: q.Partition, Peer: q.Peer, Filter: q.Filter,
	}).WithContext(withTags(ctx, q.Tags))
}

// watchRead makes the planned query. It ends at its own deadline, since Consul's
// client has none at all: the agent's wait, its jitter of a sixteenth, and readTimeout.
func (a *agent) watchRead(ctx context.Context, q discovery.Query, p plan) (answer, error) {
	if q.Prepared != "" {
		return a.execute(ctx, q)
	}
	ctx, cancel := context.WithTimeout(ctx, p.wait+p.wait/16+readTimeout)
	defer cancel()
	opts := options(ctx, q)
	opts.Near, opts.WaitIndex, opts.WaitTime, opts.UseCache = q.Near, p.index, p.wait, p.cached
	return a.read(q, opts)
}

// leaderRead asks the leader, past every cache and view of the agent.
func (a *agent) leaderRead(ctx context.Context, q discovery.Query) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	return a.read(q, options(ctx, q))
}

func (a *agent) read(q discovery.Query, opts *api.QueryOptions) (answer, error) {
	start := time.Now()
	var body entries
	meta, err := a.api.Raw().Query("/v1/health/service/"+q.Service, &body, opts)
	if err != nil {
		return answer{}, fmt.Errorf("discovery/consul: watch %q: %w", q.Service, a.scrub(err))
	}
	return newAnswer(decode(body, q), meta, start), nil
}

func newAnswer(d decoded, meta *api.QueryMeta, start time.Time) answer {
	return answer{
		decoded:  d,
		index:    meta.LastIndex,
		filtered: meta.ResultsFilteredByACLs,
		backend:  meta.QueryBackend,
		leader:   meta.KnownLeader,
		deny:     meta.DefaultACLPolicy == "deny",
		took:     meta.RequestTime,
		decoding: time.Since(start) - meta.RequestTime,
	}
}

func executePath(q discovery.Query) string { return "/v1/query/" + q.Prepared + "/execute" }

func executeOptions(ctx context.Context, q discovery.Query) *api.QueryOptions {
	return (&api.QueryOptions{Datacenter: q.Datacenter, Near: q.Near}).WithContext(ctx)
}
