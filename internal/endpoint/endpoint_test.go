package endpoint_test

import (
	"testing"

	"google.golang.org/grpc/resolver"

	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/internal/endpoint"
)

// TestNew: everything travels in the endpoint's attributes. One in the address's would
// cost a reconnect with each change.
func TestNew(t *testing.T) {
	i := discovery.Instance{
		ID: "a", Address: "10.0.0.1:80", ServerName: "a.example", Weight: 3, Zone: "z", Region: "r", Incarnation: "1",
		Meta: map[string]string{discovery.MetaLifecycle: "1"},
	}
	ep := endpoint.New(i, true)
	want := endpoint.Info{ID: "a", Incarnation: "1", Region: "r", Zone: "z", Weight: 3, Absent: true, Lifecycle: true}
	if got := endpoint.Of(ep); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if a := ep.Addresses[0]; len(ep.Addresses) != 1 || a.Addr != i.Address || a.ServerName != i.ServerName || a.Attributes != nil {
		t.Errorf("addresses %v", ep.Addresses)
	}
	i.Weight = 4
	if !endpoint.New(i, false).Addresses[0].Equal(ep.Addresses[0]) {
		t.Error("another weight makes another address")
	}
}

// TestForeign: an endpoint of another resolver is an instance named by its addresses.
func TestForeign(t *testing.T) {
	ep := resolver.Endpoint{Addresses: []resolver.Address{{Addr: "10.0.0.1:80"}, {Addr: "[::1]:80"}}}
	if got, want := endpoint.Of(ep), (endpoint.Info{ID: "10.0.0.1:80,[::1]:80", Weight: 1}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestWhy(t *testing.T) {
	if got := endpoint.Why(endpoint.WithWhy("none there")); got != "none there" {
		t.Errorf("why: %q", got)
	}
	if got := endpoint.Why(nil); got != "" {
		t.Errorf("why of nothing: %q", got)
	}
}
