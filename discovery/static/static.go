package static

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/surecall/surecall/discovery"
)

// Source is a source of instances that are written down. It is safe for concurrent use.
type Source struct {
	fixed *catalog // what New was given; nil for a file
	file  *file
}

// catalog is what a list or a file says. It is immutable.
type catalog struct {
	services map[string][]discovery.Instance // nil for a plain list
	list     []discovery.Instance            // for each service
}

// New returns a source that always holds these instances. Those that name a service are
// found under that name only, the others under any.
func New(instances ...discovery.Instance) (*Source, error) {
	if len(instances) == 0 {
		return nil, errors.New("discovery/static: the list is empty: want at least one instance")
	}
	var errs []error
	set := make([]discovery.Instance, 0, len(instances))
	for n, i := range instances {
		if err := check(i); err != nil {
			errs = append(errs, fmt.Errorf("discovery/static: instance %d: %w", n+1, err))
		}
		i.Tags, i.Meta = slices.Clone(i.Tags), maps.Clone(i.Meta)
		set = append(set, i)
	}
	c := &catalog{list: set}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	for _, service := range slices.Sorted(maps.Keys(servicesOf(set))) {
		// Each instance is right by itself, so only a repeated ID can be left.
		if problems := c.lookup(discovery.Query{Service: service}).Problems; len(problems) > 0 {
			return nil, fmt.Errorf("discovery/static: instance %q is listed twice: want each ID once", problems[0].Instance)
		}
	}
	return &Source{fixed: c}, nil
}

// check reports what is wrong with an instance by itself. What a program lists is
// expected to be right, where what a registry lists is mended.
func check(i discovery.Instance) error {
	if err := discovery.CheckAddress(i.Address); err != nil {
		return fmt.Errorf("Address %q: %w", i.Address, err)
	}
	if i.Weight < 0 || i.Weight > discovery.MaxWeight {
		return fmt.Errorf("Weight %d: want 0 (means 1) to %d", i.Weight, discovery.MaxWeight)
	}
	if i.Health > discovery.Maintenance {
		return fmt.Errorf("Health %d: want 0 to %d", i.Health, discovery.Maintenance)
	}
	return nil
}

// servicesOf returns the names in a set; "" stands for all that are not in it.
func servicesOf(set []discovery.Instance) map[string]struct{} {
	names := map[string]struct{}{"": {}}
	for _, i := range set {
		names[i.Service] = struct{}{}
	}
	return names
}

// Watch implements [discovery.Source].
func (s *Source) Watch(ctx context.Context, q discovery.Query, update func(discovery.Snapshot)) error {
	if err := q.CheckPlain(); err != nil {
		return fmt.Errorf("discovery/static: watch %q: %w", q.Service, err)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if s.file != nil {
		return s.file.watch(ctx, q, update)
	}
	update(s.fixed.lookup(q))
	<-ctx.Done()
	return ctx.Err()
}

// Explain implements [discovery.Explainer].
func (s *Source) Explain(_ context.Context, q discovery.Query) string {
	c, where := s.fixed, "the list"
	if s.file != nil {
		c, where = s.file.last(), s.file.path
	}
	all := c.lookup(discovery.Query{Service: q.Service, Accept: discovery.AcceptAny}).Instances
	switch {
	case len(c.lookup(q).Instances) > 0:
		return ""
	case len(all) > 0:
		return fmt.Sprintf("%s has %d, none with the tags and health wanted", where, len(all))
	case c.services != nil:
		return fmt.Sprintf("%s has none; it lists %q", where, slices.Sorted(maps.Keys(c.services)))
	default:
		return where + " has none"
	}
}

// Answered implements [discovery.Freshness]: now for a list, and for a file when it was
// last read well.
func (s *Source) Answered(q discovery.Query) (at time.Time, ok bool) {
	if q.CheckPlain() != nil {
		return time.Time{}, false
	}
	if s.file != nil {
		return s.file.readAt(), true
	}
	return time.Now(), true
}

// lookup returns what c holds for a query.
func (c *catalog) lookup(q discovery.Query) discovery.Snapshot {
	var set []discovery.Instance
	for _, i := range slices.Concat(c.services[q.Service], c.list) {
		if i.Service == "" || i.Service == q.Service {
			i.Service = q.Service
			set = append(set, i)
		}
	}
	clean, problems := discovery.Sanitize(set)
	return discovery.Snapshot{Instances: q.Select(clean), Problems: problems}
}
