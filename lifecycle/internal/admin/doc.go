// Package admin is the HTTP endpoint over which an operator, or the machine that runs
// the process, asks a server how it is and sends it offline or online.
//
//	GET  /healthz    200 while the process does its work, else 503 and why
//	GET  /readyz     200 while it takes calls, else 503 and why
//	GET  /inflight   the calls and streams that run, as JSON
//	POST /offline    leaves; answers when drained, as JSON with how long it took
//	GET  /offline    the same, if GetOffline allows it: a Kubernetes httpGet hook cannot POST
//	POST /online     comes back
//
// HEAD is answered wherever GET is, except that it never changes anything: HEAD /offline
// is refused. A wrong method is 405 with what is allowed, an unknown path 404 with the
// paths that there are, and 409 says why the server cannot leave or come back now;
// every refusal is one line of text that says what was wanted.
//
// # What changes something
//
// /offline and /online trust whoever reaches the port, but not what a browser was talked
// into. A request that a page of another site makes is refused by its Sec-Fetch-Site and
// Origin headers. A page that has its own name resolve to this address (DNS rebinding)
// is of the same site as far as its browser knows, so the Host must be one that no
// such page can have: an IP address, localhost, or one of [Options].Hosts.
//
// A caller that gives up waiting for /offline ends its own waiting, not the drain.
package admin
