// Package surecallotel makes OpenTelemetry's metrics and spans of what surecall's clients
// and servers do. It is a module of its own: who does not import it downloads nothing of
// OpenTelemetry.
//
//	client, err := surecall.NewClient("consul:///orders", surecall.WithInsecure())
//	…
//	stop, err := surecallotel.Observe(client) // with the global providers
//	defer stop()
//
// and in a server:
//
//	handle, err := surecallotel.LifecycleEvents()
//	lifecycle.New(lifecycle.Config{Service: "orders", Events: handle, …})
//
// # Metrics
//
// Every metric of [status.Metrics] becomes an observable instrument with its name, unit and
// description: calls, attempts, retries, denials, rejections, hedges, waits, instances by
// state, breakers, budget, limits, source, and more. One callback reads all of them from one
// [surecall.Client.Status] when somebody collects: calls pay nothing for them, and they count
// from the client's first call on. Those with a series for each instance come only with
// [WithInstances]. Beside them stand two histograms:
//
//	surecall.client.call.duration   s  of calls as their callers saw it, with all attempts and
//	                                   waits: surecall.service, rpc.method and
//	                                   rpc.response.status_code; a stream's call lasts until its
//	                                   end. [WithoutDurations] leaves it out
//	surecall.server.lifecycle.step  s  of the steps of a server's start and leaving:
//	                                   surecall.service, surecall.step, and surecall.outcome,
//	                                   which is "ok" or "error"
//
// Scraped by Prometheus from OpenTelemetry's exporter, names, labels and values are those of
// the status page's own text: surecall.client.wait.time is
// surecall_client_wait_time_seconds_total. One dashboard is right for both.
//
// What a series is made for is bounded: status codes, reasons, states and the patterns of
// limits are few; of methods a client counts 4,096, and durations and spans tell the first
// 1,000 by name and all others as "_OTHER". The SDK's own limit, 2,000 series of an
// instrument unless it is set otherwise, comes first for a program with that many methods.
//
// # Spans
//
//	orders.v1.Orders/Get                 the call          CLIENT
//	├─ attempt orders.v1.Orders/Get      one per attempt   CLIENT, parent of the server's span
//	└─ attempt orders.v1.Orders/Get      its retry or hedge
//
// The call's span follows the semantic conventions for RPC, [semconv 1.43.0]: it covers the
// call with all its attempts, and every code but OK is an error. It alone has rpc.system.name
// and rpc.method, so that what counts RPCs by spans counts each call once. What makes a map
// of services finds the server's span below the attempt that it served: W3C's traceparent, or
// whatever the propagator says, is of the attempt. Where a call did not come to an instance,
// a span of an attempt without surecall.instance says so, or none.
//
//	of the call                          when
//	rpc.system.name, rpc.method          always; "grpc" and the full method
//	surecall.service, server.address     always; the service's name
//	rpc.response.status_code             always; "OK", "UNAVAILABLE"
//	error.type                           it failed; the code again
//	surecall.call.attempts               always; 0: none was needed, or it was refused before
//	surecall.call.waited                 before the first attempt, s
//	surecall.call.denied                 no attempt followed one that failed; why
//	surecall.reason                      surecall refused it: "no instance", "rate limit", …
//	surecall.by                          not an instance answered: "stale cache", "fallback", …
//	surecall.call.age                    of an answer from a cache, s
//
//	of an attempt                        when
//	surecall.attempt.number              always; from 1
//	surecall.attempt.hedge               always; sent beside an attempt that took long
//	surecall.instance                    one was picked; its ID
//	server.address, server.port          likewise
//	surecall.attempt.queued              before its span it waited for a slot of a limit, s
//	surecall.attempt.verdict             always; "success", "failure", "ratio failure", "ignored"
//	surecall.attempt.executed            always; the instance may have executed it
//	surecall.attempt.cut_off             another answered, or its time was over
//	rpc.response.status_code, error.type as above; that another was faster is no error
//
// A call that is not sampled costs one span that records nothing; its attempts have none,
// and tell the server of the call's.
//
// # Beside gRPC's own plugins
//
// Both [otelgrpc] and [google.golang.org/grpc/stats/opentelemetry] may be installed by
// surecall.WithDialOptions. Their metrics have other names, and other meanings, than ours:
//
//	rpc.client.call.duration      otelgrpc      attempts, for it sees no more of a call
//	grpc.client.call.duration     gRPC's own    calls
//	grpc.client.attempt.…         gRPC's own    attempts
//	surecall.client.…             this package  what the name says
//
// If the plugin makes spans, say so by [WithGRPCPlugin]. Then the client spans are the
// plugin's alone, ours are INTERNAL, and the plugin alone tells the server:
//
//	otelgrpc                               gRPC's own
//	call            INTERNAL, ours         Sent.…            CLIENT
//	└─ attempt      INTERNAL, ours         └─ call           INTERNAL, ours
//	   └─ RPC       CLIENT                    └─ attempt     INTERNAL, ours
//	      └─ the server's                        └─ Attempt.…
//	                                                └─ the server's
//
// Without the option nothing is lost, but calls have three spans each that say CLIENT, and
// gRPC's own plugin sends a second traceparent, of which not all servers take the last.
// A plugin without spans needs no option.
//
// # Costs
//
// On the path of a call, beside some 170 allocations of gRPC's and surecall's client and
// server (`go test -bench Call` has it for your machine):
//
//	not observed                                  nothing
//	metrics, without durations and spans          nothing
//	durations                                     + 8 allocations, 1 kB
//	durations, spans of which none is sampled     + 22 allocations, 3 kB
//	durations, spans all sampled                  + 35 allocations, 8 kB, and the exporter
//	for comparison: otelgrpc alone, all sampled   + 49 allocations, 6 kB, and the exporter
//
// # Limits
//
// A client is observed once; [Observe] refuses to do it twice. Two clients of one service in
// a process need [WithAttributes]. Spans do not say what a message was, nor its size.
//
// [semconv 1.43.0]: https://opentelemetry.io/docs/specs/semconv/rpc/grpc/
// [otelgrpc]: https://pkg.go.dev/go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc
package surecallotel
