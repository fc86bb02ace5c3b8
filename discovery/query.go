package discovery

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// CheckPlain reports, joined, what keeps q from being answered by a source that knows
// services, tags and healths and nothing else: no Service, an Accept that does not
// exist, or a field that such a source has no notion of.
func (q Query) CheckPlain() error {
	var errs []error
	if q.Service == "" {
		errs = append(errs, errors.New("Service is empty: want a name"))
	}
	if q.Accept > AcceptAny {
		errs = append(errs, fmt.Errorf("Accept %d: want 0 to %d", q.Accept, AcceptAny))
	}
	for _, f := range []struct{ name, value string }{
		{"Prepared", q.Prepared},
		{"Filter", q.Filter},
		{"Port", q.Port},
		{"TaggedAddress", q.TaggedAddress},
		{"Datacenter", q.Datacenter},
		{"Namespace", q.Namespace},
		{"Partition", q.Partition},
		{"Peer", q.Peer},
		{"Near", q.Near},
	} {
		if f.value != "" {
			errs = append(errs, fmt.Errorf("%s %q: this source has none", f.name, f.value))
		}
	}
	if len(q.Failover) > 0 {
		errs = append(errs, fmt.Errorf("Failover %q: want one query for each datacenter", q.Failover))
	}
	return errors.Join(errs...)
}

// Select returns the instances of set that have all of q's tags and a health that it
// accepts. Whether [AcceptPrefer] has to make do with critical ones is decided among
// those with the tags. set is not changed.
func (q Query) Select(set []Instance) []Instance {
	tagged := make([]Instance, 0, len(set))
	for _, i := range set {
		if hasTags(i.Tags, q.Tags) {
			tagged = append(tagged, i)
		}
	}
	return q.Accept.Select(tagged)
}

func hasTags(has, want []string) bool {
	for _, w := range want {
		if !slices.ContainsFunc(has, func(h string) bool { return strings.EqualFold(h, w) }) {
			return false
		}
	}
	return true
}
