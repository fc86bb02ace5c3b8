// Package once has what [lifecycle.Life.Once] needs to execute a call at most once: its
// policy, the [Store] that all instances of a service share, and one in [Memory].
//
// # The problem
//
// An instance that dies after it has executed a call and before its answer has arrived
// leaves a caller that cannot know. To repeat "place an order" may place two; not to
// repeat it may place none. So clients never repeat such a call, unless the server can
// tell a repeat from a new call: the client sends an ID with it, the same with all
// attempts of the call, and the server keeps what it answered.
//
//	client  surecall.ForMethod("/orders.v1.Orders/Place", surecall.WithCallID(), surecall.AsIdempotent())
//	server  orders.RegisterOrdersServer(l.Once(srv, once.Policy{Store: store}), &server{})
//
// # What is promised
//
// Of all calls with the same ID and the same method, the handler runs for one at most, as
// long as the store keeps its record. The others get
//
//	the record is                  a repeat gets
//	settled                        the same reply or error, details included
//	of another request             INVALID_ARGUMENT
//	running                        the same, once it is there; it waits until its own deadline
//	running, for a dead instance   ABORTED, "outcome unknown", after at most Lease
//	free                           executed
//	not to be had: the store       UNAVAILABLE, marked as never executed; executed, with
//	fails                          Policy.ExecuteAnyway, if nothing is known of the call
//
// # Which outcomes are kept
//
//	the handler returns                     kept
//	a reply                                 the reply; larger than MaxReply: that there was one
//	an error, of whatever code              the error: it may have come half-way
//	an error of lifecycle.NotExecuted       nothing: a repeat is executed
//	CANCELED or DEADLINE_EXCEEDED after     "outcome unknown"
//	its context ended
//	nothing: it panics                      "outcome unknown"
//
// So the error of the handler that ran decides the call, whatever its code, also where
// another instance could have done it: it may have come half-way, and then to run it again
// would be to do it twice. A handler that finds its database away before it has done
// anything should say so by [lifecycle.NotExecuted]; then the call is made elsewhere.
//
// What is answered from the record has a mark in its trailer. Clients of surecall do not
// repeat a call for an error with that mark, and blame the instance that failed, by its own
// answer, and not the one that told of it.
//
// The handler does not belong to the attempt that it runs for. Its context keeps the
// deadline but does not end when the caller goes: the caller may be back by another
// connection already, and wait for this very answer. It ends when the server cuts calls
// off at its end. So a call without a deadline, whose caller has gone, may run until then:
// give the guarded methods a deadline in an interceptor of the server.
//
// # What is not promised
//
// At least once: an instance that dies half-way leaves a call of which nobody knows how
// far it came, and its caller is told just that. Who needs exactly once has to have the
// handler write its effect and the record in one transaction of one database; then the
// record is the database's, and this package has no part in it.
//
// Headers and trailers that a handler sets are not kept. Interceptors run for repeats as
// for any call, and can take an ID away. An ID is believed: a caller that knows another's,
// and what was asked with it, gets the other's reply. Policy.Scope keeps callers apart that
// do not trust each other; the IDs of clients of surecall are random, of 128 bits and more,
// and not for logs that strangers read.
//
// Requests are told apart by a digest of their deterministic encoding. While instances run
// that were built with different versions of a message, one that has the newer fields may
// look different to them: its repeat may be refused, and is not executed again.
//
// # The numbers
//
//	Policy.Lease               2 s        silence that is taken for death; at most 1 h
//	Policy.Scope               none
//	Policy.MaxReply            256 KiB
//	Policy.StoreTimeout        1 s        for each write
//	Policy.ExecuteAnyway       false
//	MemoryPolicy.TTL           10 min     from the last write
//	MemoryPolicy.Keep          10 s       not given up before, full or not
//	MemoryPolicy.MaxRecords    200,000
//	MemoryPolicy.MaxBytes      64 MiB
//
// A call with an ID costs two writes to the store, and one more for each Lease/3 that it
// lasts; with the store in memory 8 µs and 48 allocations. A call without one costs a look
// into its metadata (go test -run '^$' -bench Once ./lifecycle).
//
// # Writing a store
//
// A store keeps bytes by compare-and-set on a version of its own, and can tell when they
// change: SET with a version in a Lua script and keyspace notifications (Redis), UPDATE …
// WHERE version = $1 and a look every 50 ms (SQL), check-and-set and a blocking query
// (Consul: examples/exactly-once/kvstore, to copy from). Neither Put nor Wait may show
// what is older than a write that has returned. A write must be durable where it must not
// be forgotten: a store that loses records when it fails over executes calls twice. It
// should forget a record some minutes after the last write, and must not before the longest
// deadline of callers has passed twice, nor before twice the Lease has: a [Keeper] says how
// long it keeps them, and is checked. Package oncetest tests all of that which can be
// tested.
package once
