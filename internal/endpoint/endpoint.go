// Package endpoint carries what the balancer has to know of an instance inside a
// gRPC endpoint. It is the one thing that resolver and balancer share.
package endpoint

import (
	"strings"

	"google.golang.org/grpc/attributes"
	"google.golang.org/grpc/resolver"

	"github.com/surecall/surecall/discovery"
)

// Info travels in an endpoint's attributes. It is comparable, so that gRPC sees at
// once whether it changed, and it is in the endpoint's, not the address's,
// attributes: there a change never costs a reconnect.
type Info struct {
	ID          string
	Incarnation string
	Region      string
	Zone        string
	Weight      int
	Priority    int // 0 is used first
	// Absent means that the source no longer lists the instance but is not believed.
	Absent bool
	// Lifecycle means that the server speaks surecall's own protocol: it marks calls
	// that it refused before executing them.
	Lifecycle bool
}

type key struct{}

// New returns the endpoint of an instance.
func New(i discovery.Instance, absent bool) resolver.Endpoint {
	_, lifecycle := i.Meta[discovery.MetaLifecycle]
	info := Info{
		ID: i.ID, Incarnation: i.Incarnation, Region: i.Region, Zone: i.Zone,
		Weight: i.Weight, Priority: i.Priority, Absent: absent, Lifecycle: lifecycle,
	}
	ep := resolver.Endpoint{Addresses: []resolver.Address{{Addr: i.Address, ServerName: i.ServerName}}}
	ep.Attributes = ep.Attributes.WithValue(key{}, info)
	return ep
}

// Of returns what is known of ep. An endpoint of a foreign resolver, dns for
// example, is an instance named by its addresses.
func Of(ep resolver.Endpoint) Info {
	if info, ok := ep.Attributes.Value(key{}).(Info); ok {
		return info
	}
	return Info{ID: Address(ep), Weight: 1}
}

type whyKey struct{}

// WithWhy returns the attributes of a resolver's state that is empty because of why.
func WithWhy(why string) *attributes.Attributes {
	return attributes.New(whyKey{}, why)
}

// Why returns what WithWhy put in, or "".
func Why(a *attributes.Attributes) string {
	why, _ := a.Value(whyKey{}).(string)
	return why
}

// Address returns the addresses of ep as one string.
func Address(ep resolver.Endpoint) string {
	if len(ep.Addresses) == 1 {
		return ep.Addresses[0].Addr
	}
	addrs := make([]string, len(ep.Addresses))
	for i, a := range ep.Addresses {
		addrs[i] = a.Addr
	}
	return strings.Join(addrs, ",")
}
