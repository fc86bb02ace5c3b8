// Package status is what a client can show of itself: one document, [Status], and the
// table of [Metrics] that is read from it. The status page, its JSON and its Prometheus
// text, OpenTelemetry's metrics and the dashboards all say what is here, in these words.
//
// A Status is a copy of one moment. Counters begin at 0 with the client. Times in the JSON
// are seconds as a number, moments are RFC 3339.
//
// # The page
//
// [Handler] serves the page; Client.StatusHandler and StatusHandler of package surecall make
// one of clients. It is one HTML document without anything from elsewhere, complete without
// JavaScript. With it, the page follows: a stream of server-sent events carries the elements
// that changed, rendered by the server.
//
//	what                                             how much, how often
//	a change of state: an instance, a breaker        shown within 0.3 s
//	counts, latencies                                once a second; every 2 s with 1,000 instances shown
//	pages open at once                               32; one more is told to try again. Of one host a browser
//	                                                 has six connections over HTTP/1.1, so five pages and one to load
//	a page that reads slowly                         gets fewer and newer messages; let go after 10 s in one
//	instances on the page                            1,000, which the services share, those in trouble first
//	bad calls and events on the page                 the newest 30 and 60 of each service
//
// While no page is open nothing runs; for all that are open together each state is read and
// rendered once, and the message of what is new is made once: 17 ms each second for 500 busy
// instances, 44 ms each 2 s for 5,000 (BenchmarkNews).
//
// All that comes from a registry or a server is taken for hostile: it is escaped, its control
// characters are replaced, and its length is bounded. The page runs no script and loads
// nothing but its own (Content-Security-Policy), cannot be framed and is not stored.
package status
