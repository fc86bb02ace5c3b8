// Package consul finds instances in HashiCorp Consul and keeps a server registered
// there. A [Source] is a [discovery.Source], a [discovery.Registrar], a
// [discovery.Explainer] and a [discovery.Freshness] on one Consul agent.
//
// # What it protects against
//
// Consul's answer to "who serves orders?" can be wrong in ways that look right:
//
//	what happens                       what the agent says          what users get
//	an agent cut off from its servers  200, an empty list           the last set, doubted
//	an agent that lost its data        200, an empty list           the last set, doubted for 1 min
//	a token without the rights         200, an empty list           the last set, doubted
//	an agent that hangs                nothing, for ever            an error after the query's deadline
//	an agent that is down              an error                     an error at once; back-off up to 30 s
//	an agent whose stream went silent  200, an old list             the leader's set, after an audit
//	a proxy that strips headers        index 0                      polling each 2 s, not a hot loop
//	there is none, or the last left    200, an empty list           an empty set, once the leader confirms it
//
// Of the three answers that package discovery names, a doubted snapshot holds the last
// set that was believed and says in Doubt why that is; an error leaves users with what
// they have. A user that comes late, or was slow, gets the last set, doubted, before the
// error. How long doubted instances go on serving is for the consumer to decide.
//
// # How it watches
//
// One blocking query per distinct [discovery.Query] serves all callers of a Source, and
// with [Shared] all of the process: an agent allows 200 connections per host. Changes are
// pushed by the agent from a stream of its own, so they are seen within milliseconds on
// one host and about 80 ms across a cluster. Health is judged here, from all checks: a
// warning has its own weight, and maintenance is not the same as critical. Queries with
// Near turn the stream off: each change then costs the servers a full read.
//
//	what                                default   bounds
//	held by the agent without a change  60 s      Config.WaitTime, 1 s to 10 min
//	first read, from the agent's cache  5 s       fixed
//	client's deadline per query         wait + wait/16 + 10 s
//	back-off after an error             100 ms ×2 to 30 s, full jitter; from 5 s if it is our fault
//	time between two returns            20 ms, after a burst of 3; ten times the last decoding
//	audit of the agent's view           5 to 10 min, at random
//	watch outlives its last user        0 (New), 30 s (Shared)
//
// An audit asks the leader for the same instances, which costs the servers one full read
// of the service per watch (1,000 instances: about 85 ms), beside the query that waits. What
// still differs two seconds later is no change on its way: then the leader's set is used,
// with a problem that says so, and the agent's view is believed again once both agree;
// until then the leader is asked at each change and at least every 30 s. Trouble of an audit is
// not trouble of the watch.
//
// Another datacenter is watched through the same agent; whatever is confirmed is confirmed
// by the leader there.
//
// # Prepared queries
//
// "consul:///orders?prepared-query=orders-nearest" takes its instances from the prepared
// query "orders-nearest"; "orders" goes on naming the service in errors and certificates.
// The prepared query itself says which service, tags and health, and which datacenters to
// turn to; dc says in which one it is kept. What it never gives are critical instances,
// OnlyPassing or not, so fallbackToUnhealthy finds none either. Consul pushes no changes of
// it: it is polled, each 10 s by default, so an instance that leaves is seen that much later.
//
// Each answer is the leader's own, and none has an index. So an empty one is believed if
// nothing was there before, and doubted for 1 min if there was: a registry that lost its
// memory and a datacenter that cannot be reached look the same. If another datacenter than
// the first answered, a problem says which. A name that Consul does not know is an error,
// asked again slowly.
//
// # Keys
//
// [Source.WatchKey] follows one key of the KV store, which is where policy documents are
// kept. Its reads go to the leader and wait there for a change, with the deadlines and the
// back-off above; there are at most five waits in a second. A key that is deleted is told of
// as one that is not there, which is not what an error is.
//
// # What becomes an instance
//
//	address      tagged address or named port asked for; socket; "grpc" as kratos writes it;
//	             the service's address; the node's
//	weight       Weights.Passing, or Weights.Warning while warning; meta "weight" if those are 1
//	region, zone the service's locality, the node's, or meta "region" and "zone"
//	incarnation  meta "surecall-incarnation", else the service's create index
//
// What cannot be used is skipped, what can be mended is mended, and both are told in
// Snapshot.Problems. An ID that occurs twice with one address is one instance; with two
// addresses that both serve, the newer becomes "ID@node".
//
// # Registering
//
// A registration has a TTL check that is heart-beaten each TTL/3, or a gRPC check that
// Consul makes. If the agent lost it, it is made again at once; it is made again every
// minute in any case, which watchers do not notice. Errors are retried for ever:
//
//	first registration                 at once, no jitter
//	after an error                     within 1 s (TTL/3 if that is less), full jitter
//	after 3 refusals (400 to 404)      5 s, growing to 30 s, full jitter
//	the connection to the agent broke  within 1 s, jittered; in the long run once per TTL/3
//	each attempt                       given up after 3 s
//
// So a registration is there again within two seconds of its agent's return, and those of
// a fleet do not come back in one instant.
//
// Registration.Health is asked before each heart-beat, one call at a time. While a call has
// not returned within TTL/3, the heart-beat reports critical, with a note that says so:
// callers leave an instance that hangs before its TTL has run out.
//
// A registration lives in one agent. Heart-beats go over one connection, and to the
// address that it first reached, so a name with several addresses does no harm. A load
// balancer with one address is held by that connection alone: if it breaks, the next agent
// does not know the instance and registers it too. The old entry turns critical after the
// TTL and goes after DeregisterAfter; a reader of this package sees one instance all along.
// Better let each server talk to the agent of its own host.
//
// # Targets
//
// [ParseTarget] reads "consul://[user:password@][agent:port]/service?…". Keys are those of
// the known Consul resolvers and our own; their case does not matter:
//
//	tag, tags          all of them must match; tag may be repeated, tags has commas between
//	healthy            true: passing only; false: all but maintenance
//	health             healthy: passing and warning (the default); fallbackToUnhealthy:
//	                   those, else all but maintenance
//	filter             a filter expression of Consul
//	dc                 a datacenter, or several with commas between: the others stand in for
//	                   the first, in their order
//	ns, partition, peer, near
//	prepared-query     the name or ID of a prepared query; refresh is Config.Refresh then
//	port, address      a named port, a tagged address
//	wait, scheme       Config.WaitTime, Config.Scheme
//	token, token-file  prefer the environment: targets end up in logs
//	insecure, server-name, ca-file, cert-file, key-file
//	                   TLS to the agent
//
// Accepted and ignored: limit (the balancer chooses its subset, and keeps it), timeout and
// max-backoff (each query has a deadline, each error a back-off), allow-stale and
// require-consistent (the agent's stream ignores both; an empty answer is checked with the
// leader anyway), refresh without prepared-query (changes are pushed).
//
// # What it does not do
//
// No Connect sidecars, no agent TLS renewal: TLS files are read once.
package consul
