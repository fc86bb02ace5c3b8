// Package discoverytest holds the suite that every [discovery.Source] has to pass, and
// every [discovery.Registrar] with it.
//
// A test gives the source and the means to change what it holds; the suite does the rest:
//
//	func TestConformance(t *testing.T) {
//		registry := memory.New()
//		discoverytest.Run(t, discoverytest.Harness{Source: registry, Put: …, Remove: …})
//	}
//
// Each part has services of its own, with names that no other run uses, so that parts
// do not disturb each other and a shared registry need not be empty. A part that needs
// what the harness does not have is skipped and says so.
//
// # What is asked of a source
//
//	part         promise
//	First        the first snapshot comes at once, and is the full set
//	Empty        an unknown service is known to be empty; that is not an error
//	Changes      instances added, changed and removed are seen, always as full sets
//	Healths      each Accept selects what it says
//	Tags         a query's tags must all be there, in whatever case
//	Serial       update is not called while it runs; what changed meanwhile follows
//	Many         many watches at once all see each change
//	Cancel       Watch returns the context's error at once, whenever that ends
//	Leaks        nothing is left running then, and update is not called again
//	Refused      a query that can never work is an error, not an empty set
//	Failure      no answer is reported as Err, also to a new watch; then it recovers
//
// In every part each set must be usable as it is: [discovery.Sanitize] finds nothing.
//
// # What is asked of a registrar
//
//	part         promise
//	Register     the instance is seen with all that it said of itself
//	Update       a new weight is seen; a new ID or service is refused
//	Release      the instance is gone; a second Release does nothing
//	Beats        what Health says is seen: warning weight, critical, passing again
//	NewLife      a registration of the same ID with a new incarnation is seen
//	Addresses    host names, IPv4, IPv6 and unix sockets arrive as they were written
//	Bounded      an ended context is an error, and so is an invalid registration
//
// # Time
//
// The suite waits on channels, up to Harness.Deadline for each thing it waits for, and
// never sleeps. With Harness.Bubble each part runs in a testing/synctest bubble.
package discoverytest
