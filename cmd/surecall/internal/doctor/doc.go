// Package doctor finds out why a service cannot be called. It walks from the target to
// the answer of each instance, in the order in which a call depends on it, and stops at
// what is broken:
//
//	step          what is asked                                          of whom
//	target        can it be parsed, do its files exist                   –
//	agent         reachable, TLS as expected, a Consul                   the agent
//	leader        elected, all servers alive                             the agent
//	token         known, service:read, node:read                         the agent
//	service       known; names like it, datacenters that have it         the agent
//	query         tags, filter, near, prepared query, with and without   the agent
//	checks        passing, and if not, why                               the agent
//	registration  an address that others can dial, weights, duplicates   package discovery/consul
//	dial          names resolve, connections are accepted                each instance
//	protocol      TLS or plaintext, HTTP/2, gRPC                         each instance
//	tls           dates, authority, name, client certificate             each instance
//	auth          the health check and watch are let through             each instance
//	draining      does not announce that it leaves                       each instance
//	health        SERVING                                                each instance
//
// Targets of static and dns begin with registration and dial.
//
// What finds instances is package discovery/consul itself, so what is judged is what a
// client would use; certificates are checked against the name that a client checks.
//
// # Results of a step
//
//	ok     as it should be
//	warn   works, and somebody should know
//	FAULT  calls fail, or nobody could see that they will: of all instances, or of those
//	       that the line names
//	skip   not asked, because of what came before
//
// A FAULT that leaves no instance to call ends the walk. One of some instances does not:
// it goes on with the others, so there may be several. FAULT and warn come with a remedy.
//
// # Numbers
//
//	what                             value
//	each step on the network         Options.Timeout, 5 s by default
//	instances that are dialled       at most 20, 16 at once
//	other datacenters that are asked at most 8
//	text from outside, in one line   400 characters; what does not print is escaped
//
// Tokens, passwords and key material are never shown: what is known to be one is taken
// out of every line.
package doctor
