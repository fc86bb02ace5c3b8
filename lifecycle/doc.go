// Package lifecycle is the server half of surecall: it brings a gRPC server online when
// it is ready for calls, keeps it registered while it answers, and takes it offline
// without failing a call, whoever the callers are.
//
//	l := lifecycle.New(lifecycle.Config{
//		Service:    "orders",
//		Listen:     ":50051",
//		Registrars: []discovery.Registrar{registry},
//	})
//	srv := grpc.NewServer(l.ServerOptions()...)
//	orders.RegisterOrdersServer(srv, &server{})
//	err := l.Run(ctx, srv)
//
// # The states
//
//	        Start                                    Stop, SIGTERM, SIGINT, ctx of Run,
//	new ─────────────▶ starting                      a server that died
//	                      │ warmed up                        │
//	                      ▼         Drain, POST /offline     │ (from any state)
//	       listed, ┌─▶ online ─────────────▶ leaving         ▼
//	       SERVING │      ▲                     │ (a)–(e)   (a)–(e) if it was online,
//	               │      │ Online,             ▼            then (f)–(h)
//	               │      └─POST /online──── offline         │
//	               │                            │            ▼
//	               └── Online ◀─────────────────┘         stopped
//
// Whoever asks a server to leave joins the one drain that runs. Drain and POST /offline
// leave the process running: it stays offline, serves and marks what still comes, and
// ends on SIGTERM, which then takes no longer than steps (f) to (h). Online takes a drain
// back at any moment of it; once Stop was called or a signal came, and so before
// GOAWAY was sent, it is too late.
//
// # Starting
//
//  1. The listener opens; gRPC serves; health is NOT_SERVING.
//  2. The server calls itself over an in-process connection. It fails if it was made
//     without ServerOptions.
//  3. The steps of Config.Steps run in order; [Replay] makes one of recorded requests. A
//     step that fails ends the start, unless it is optional.
//  4. Health becomes SERVING: of the whole server, and of each of its services that the
//     program has set no status for.
//  5. The instance is registered, with an incarnation and the first heart-beat. A try that
//     fails is repeated for ever, with pauses of 0.1 s doubling to 5 s, of which between
//     half and all: it neither ends nor blocks the server.
//
// # Staying
//
// Each heart-beat is preceded by a health check that the server answers itself, over a
// connection and through all interceptors, within TTL/4: a server that hangs is reported
// critical, and so is one whose program set the health of the whole server to
// NOT_SERVING.
//
// # Leaving
//
//	step                                                        takes at most  Drain.
//	(a) health is NOT_SERVING, pushed to all who watch                   –     –
//	(b) deregister                                                     3 s     Deregister
//	(c) from (a) on, every response has the draining mark                –     –
//	(d) propagation: serve as before                                   2 s     Propagation
//	(e) adaptive wait: none in flight, and none new for 500 ms        10 s     Wait, Quiet
//	    shut the extra servers down                                    2 s     Extra
//	(f) GOAWAY; together with it, refuse and end Watches: see below      –     –
//	(g) graceful stop, then calls are cut off                          3 s     Stop
//	(h) hooks, in order                                                3 s     Hooks
//	    answer who waits at the admin endpoint                       0.5 s     –
//	sum                                                             23.5 s
//
// Kubernetes kills a process after 30 s, of which a preStop hook takes its part. The
// quiet counts from the last new call, also in the propagation window. Calls of the
// health, reflection and channelz services, and what a server sends itself to warm up,
// count neither as new nor as in flight. A long stream holds (e) until its bound:
// [Draining] tells its handler to end. So does a caller that hears of nothing (no health,
// no registry, no mark) and goes on calling: GOAWAY is what moves it.
//
// In (f), while gRPC sends GOAWAY over each connection, Watches of the health service are
// ended and calls are refused, on whichever connection, of callers that name their
// attempts and so believe the answer "not executed", as clients of surecall do; any other
// call is served until its connection ends. Drain.RefuseAtOnce refuses from (a) on.
//
// After (g) handlers that ignore their context still run. Run waits for them, without a
// bound: a process that must end ends by SIGKILL, or by a third SIGTERM.
//
// # The admin endpoint
//
// Config.Admin opts into one over HTTP; without a host in its address it listens on
// 127.0.0.1. It is there from the beginning of the start to the very end.
//
//	GET  /healthz   200 while the server answers itself, starts or stops
//	GET  /readyz    200 while it is online and SERVING, else 503 and why
//	GET  /inflight  the calls that run, as JSON
//	POST /offline   Drain; answers when drained
//	POST /online    Online; 409 when it is too late
//
// [OfflineCommand] makes a program call its own endpoint, where there is no shell to do it.
//
// # Calls that must not be executed twice
//
// A caller whose instance died before it answered cannot know whether its call was
// executed. [Life.Once] lets it repeat the call all the same: a call with an ID is executed
// once at most, and its repeats, on whichever instance, get what the first execution
// returned.
//
//	attempt 1 ──▶ instance a: claims the ID in the shared store, executes, keeps the reply, dies
//	attempt 2 ──▶ instance b: finds the ID claimed; waits, if need be; answers with the reply
//
// A call that was begun and of which nobody knows what became is not executed again: its
// repeats fail with ABORTED. Package once has the tables of what is kept and what a repeat
// gets, the numbers, and how to write a store. A handler that has done nothing says so by
// [NotExecuted]; then any caller may try elsewhere.
//
// # What goes on to a handler's own calls
//
// Calls that a handler makes with its context have
//
//	the deadline of the call            gRPC; [Reserve] keeps a part of it back
//	its priority                        if one was sent: limit.FromContext
//	the mark that stops retries of retries
//
// # At the edge
//
// A server believes its callers: that their calls are critical, that they are attempts of
// a call which is repeated elsewhere already, and whose call an ID is of. Within one's own
// services that is the point. A server that strangers call takes it away, from its handlers
// and from the calls that these make, by an interceptor of its own: the one of the example
// AtTheEdge, as grpc.ChainUnaryInterceptor, and the like for streams. What is left to a
// stranger is the ID of the attempt, which says nothing to anyone but its sender; and that
// a request is a replay nobody outside the process can say.
//
// # The interceptors
//
// They are the outermost, see [Life.ServerOptions]. They write the marks and remove those
// that a handler wrote, count, refuse, and pass on what the table above says. Per unary
// call they take about 0.4 µs and 2 allocations, 96 bytes (go test
// -run '^$' -bench Interceptor ./lifecycle).
//
// # What this package does not do
//
// It cannot help callers of a process that crashes or is killed: that is what clients of
// surecall do. It does not set deadlines and does not limit load.
package lifecycle
