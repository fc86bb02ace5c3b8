package discoverytest

import (
	"crypto/rand"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/surecall/surecall/discovery"
)

// Harness is what the suite tests and how it changes what that holds. Only Source is
// required. The functions fail the test that they are given if they cannot do their
// work; they may return before a watch has seen it.
type Harness struct {
	Source discovery.Source
	// Registrar puts instances where Source finds them. nil skips its parts.
	Registrar discovery.Registrar

	// Put adds instances to the services that they name, or replaces those of the same
	// ID. Remove takes one out. nil skips the parts that change something.
	Put    func(t *testing.T, instances ...discovery.Instance)
	Remove func(t *testing.T, service, id string)
	// Holds is what a source without Put holds. Service may be empty if it gives the
	// same instances for each service.
	Holds []discovery.Instance

	// Break makes the source unable to answer, Heal ends that. nil skips Failure.
	Break, Heal func(t *testing.T)

	// Refused are queries with which Watch must return an error. One without a
	// service is always tried.
	Refused []discovery.Query
	// Quiet says that no two updates of a watch in a row are the same.
	Quiet bool
	// Addresses are those that the registrar has to take. Default: a host name, an
	// IPv4 and an IPv6 address, and a unix socket.
	Addresses []string

	// Bubble runs each part in a testing/synctest bubble. Source must then have made
	// no channel, timer or goroutine that its watches wait for.
	Bubble bool
	// Deadline is how long the suite waits for any one thing. Default 10 s.
	Deadline time.Duration
}

// Run runs the suite, each part as a subtest.
func Run(t *testing.T, h Harness) {
	if h.Source == nil {
		t.Fatal("discoverytest: Harness.Source is nil: want the source to test")
	}
	if h.Deadline == 0 {
		h.Deadline = 10 * time.Second
	}
	if h.Addresses == nil {
		h.Addresses = []string{"orders-1.internal:50051", "192.0.2.7:50051", "[2001:db8::7]:50051", "unix:/run/orders.sock"}
	}
	for _, p := range parts {
		t.Run(p.name, func(t *testing.T) {
			for _, n := range p.needs {
				if !n.met(h) {
					t.Skip("the harness has " + n.name)
				}
			}
			if h.Bubble {
				synctest.Test(t, func(t *testing.T) { p.run(t, h) })
				return
			}
			p.run(t, h)
		})
	}
}

// part is one promise.
type part struct {
	name  string
	needs []need
	run   func(*testing.T, Harness)
}

// need is something that a part cannot do without.
type need struct {
	name string
	met  func(Harness) bool
}

var (
	put       = need{"no Put", func(h Harness) bool { return h.Put != nil }}
	remove    = need{"no Remove", func(h Harness) bool { return h.Remove != nil }}
	stock     = need{"neither Put nor Holds", func(h Harness) bool { return h.Put != nil || len(h.Holds) > 0 }}
	unknown   = need{"the same for each service", func(h Harness) bool { return h.Put != nil || len(h.Holds) > 0 && h.Holds[0].Service != "" }}
	breaks    = need{"no Break and Heal", func(h Harness) bool { return h.Break != nil && h.Heal != nil }}
	registrar = need{"no Registrar", func(h Harness) bool { return h.Registrar != nil }}
)

var parts = []part{
	{"First", []need{stock}, first},
	{"Empty", []need{stock, unknown}, empty},
	{"Changes", []need{put, remove}, changes},
	{"Healths", []need{put}, healths},
	{"Tags", []need{put}, tags},
	{"Serial", []need{put}, serial},
	{"Many", []need{put}, many},
	{"Cancel", []need{stock}, cancels},
	{"Leaks", []need{stock}, leaks},
	{"Refused", nil, refused},
	{"Failure", []need{breaks, put}, failure},
	{"Register", []need{registrar}, registers},
	{"Update", []need{registrar}, updates},
	{"Release", []need{registrar}, releases},
	{"Beats", []need{registrar}, beats},
	{"NewLife", []need{registrar}, newLife},
	{"Addresses", []need{registrar}, addresses},
	{"Bounded", []need{registrar}, bounded},
}

// newService returns a name that no other part or run uses.
func newService() string {
	return "conformance-" + strings.ToLower(rand.Text()[:10])
}

// instance returns the n-th instance of a service.
func instance(service string, n int) discovery.Instance {
	return discovery.Instance{
		ID:      fmt.Sprintf("%s-%d", service, n),
		Service: service,
		Address: fmt.Sprintf("192.0.2.%d:50051", n),
		Weight:  n,
	}
}

// stocked returns a service that has instances, and those.
func stocked(t *testing.T, h Harness) (string, []discovery.Instance) {
	if h.Put == nil {
		if name := h.Holds[0].Service; name != "" {
			return name, h.Holds
		}
		return newService(), h.Holds
	}
	service := newService()
	set := []discovery.Instance{instance(service, 1), instance(service, 2), instance(service, 3)}
	h.put(t, set...)
	return service, set
}

// put puts instances, and sees to it that they are gone after the part.
func (h Harness) put(t *testing.T, instances ...discovery.Instance) {
	t.Helper()
	h.Put(t, instances...)
	if h.Remove == nil {
		return
	}
	t.Cleanup(func() {
		for _, i := range instances {
			h.Remove(t, i.Service, i.ID)
		}
	})
}
