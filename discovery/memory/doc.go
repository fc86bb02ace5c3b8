// Package memory is a registry inside the process: for examples, for tests, and for
// programs whose servers and clients live together. It behaves as a real one does, so
// that what works with it works with Consul.
//
// A [Registry] is a source, a registrar and an explainer at once:
//
//	registry := memory.New()
//	lease, err := registry.Register(ctx, discovery.Registration{Instance: …})
//	err = registry.Watch(ctx, discovery.Query{Service: "orders"}, update)
//
// # The life of a registration
//
//	            heart-beat: passing, warning, maintenance
//	              ┌───────────┐
//	Register ──▶ alive ◀──────┘
//	              │  ▲
//	   TTL passes │  │ heart-beat                   heart-beat: registered
//	   or it says │  │ of another                   again, the same life
//	   critical   ▼  │ health      DeregisterAfter  ┌──────────────────┐
//	             critical ─────────────────────▶ forgotten ─────────────┘
//
// The lease's goroutine asks Registration.Health each TTL/3 and sends what it said. A
// Health that has not returned after TTL/3 has missed its heart-beat. One that hangs
// makes its instance critical when the TTL is over, which is how a test plays a
// process that is stuck or gone. Release ends the goroutine and removes the instance.
//
// A second registration of the same ID takes the place of the first, whose lease is
// then lost: its heart-beats end and its Update fails. It is a new life if its
// Incarnation differs; the registry gives a new one to each registration that has none.
//
// # Numbers
//
//	what                     value
//	heart-beat               TTL/3
//	TTL                      15 s   (discovery.DefaultTTL)
//	forgotten when critical  10 min (discovery.DefaultDeregisterAfter)
//	weight while warning     Registration.WarningWeight, else the weight
//
// # What it does not have
//
// There are no checks that the registry makes itself: a Registration with GRPC set is
// refused. There are no datacenters, namespaces, partitions, peers, named ports, tagged
// addresses, distances or filters: a query that asks for one is refused.
//
// A registry runs nothing of its own: there is one goroutine per lease, and one timer
// per leased instance. It works inside a testing/synctest bubble.
package memory
