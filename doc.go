// Package surecall makes gRPC calls sure:
//
//	A call made through surecall succeeds whenever an instance that can serve it is alive,
//	and no caller waits on one that is not.
//
// One exception is kept on purpose: a call that may have been executed and is not
// idempotent is never repeated. It ends with its instance's answer, or at its deadline.
//
// A [Client] takes the place of a *grpc.ClientConn; generated stubs are made from it as
// from that:
//
//	client, err := surecall.NewClient("consul:///orders", surecall.WithInsecure())
//	stub := orders.NewOrdersClient(client)
//
// It finds the instances of a service in Consul, spreads calls over them by weight and
// load, leaves out those that fail or hang, and repeats on another instance what can be
// repeated. Frameworks that make their connections themselves take [DialOptions].
//
// # The path of a call
//
// Each call goes through these steps, outermost first. The order is fixed, because most
// other orders are wrong. What is not on by default is marked with a star.
//
//	step                what happens                                why it stands there
//	observe             events are told: package event              sees every rejection below
//	policy              what options say of the method: ForMethod,  the rest depends on it
//	                    ForCall
//	second best *       cache, alternate, fallback answer when      on the caller's context: the
//	                    all else failed                             call deadline may be used up
//	call deadline       bounds a call whose caller set none         all attempts share it
//	rate limit *        waits or rejects over so many calls a       judges what the caller asked,
//	                    second                                      as do the next three, not what
//	throttle *          holds back what the service would refuse    retries add
//	service breaker     rejects at once while nothing of the
//	                    service answers, but for some trials
//	method breaker *    rejects the calls of a method that fails
//	                    wherever it goes
//	retry               another attempt, elsewhere, paid from a     never the same instance while
//	                    budget                                      another is eligible
//	concurrency limit   waits in a queue * or rejects over so many  every attempt holds a slot
//	                    attempts under way
//	hedge *             a second attempt beside a slow first,       needs a slot and pays as
//	                    paid from the same budget                   retries do
//	attempt timeout     bounds an attempt that another can follow   begins with the slot: waiting
//	                                                                here blames no instance
//	pick                one eligible instance, by weight and load   one pass: limit *, choice,
//	                                                                breaker, count
//	wire                gRPC
//	verdict             what the end means for the instance         from the error the caller sees
//
// Streams go the same way, but for the second best, hedges and attempt timeouts: see
// "Streams".
//
// # Words
//
//	call         what the user made: one RPC on a stub
//	attempt      one try of a call on one instance; a retry is an attempt
//	instance     one registered process of a service: an ID, an address, a weight, a zone
//	incarnation  one life of an instance; a new one inherits no state
//	fleet        all instances of a service that a client knows, with their live state
//	source       where instances come from: Consul, a list, a file, memory
//	snapshot     the full set of instances a source reports at one moment
//	eligible     may be picked now: connected, serving, not draining, not suspect, not
//	             ejected, not tried by this call
//	suspect      calls wait on it and nothing comes back
//	ejected      its breaker is open, or it did not answer a probe; overruled: its breaker
//	             would be open, but too many already are
//	absent       gone from a doubted snapshot, but its connection lives
//	not serving  its health service says so
//	draining     it said that it is leaving: no new calls, those in flight finish
//	standby      of a lower priority, and not connected: others suffice
//	failed       its connection was lost or refused
//	rejection    surecall refused a call before anything was sent
//	verdict      success, failure or ignored: what an attempt's end means for its instance
//
// # Defaults
//
// A client with a target and credentials has all of this. Each policy's zero value is
// its default, and so is each zero field.
//
//	what              default                                           source
//	call deadline     5 s if the caller set none; streams: none         go-zero, kratos 2 s; Envoy 15 s
//	attempt timeout   idempotent methods: 4 × the method's p99, from    measured: below 3 cuts healthy
//	                  100 ms to half of what is left; 200 ms until      tails, above 6 hangs show
//	                  20 answers are known
//	attempts          3: what was never executed; for idempotent        Envoy, Finagle
//	                  methods UNAVAILABLE and timed out, too; those
//	                  cut off for a hang do not count
//	wait between      none at first, then up to 25 ms ×2 … 1 s, full    Envoy, Linkerd
//	                  jitter; a server's pushback wins
//	budget            20 % of calls + 10 retries per second             Finagle, Linkerd
//	suspects          unary calls wait, and nothing at all came back    a call cannot wait for the five
//	                  for 4 × p99, at least 50 ms (1 s until that is    failures of a breaker
//	                  known): passed over, and ejected if it does not
//	                  answer a probe in 100 ms (500 ms if half are out)
//	health Watch      NOT_SERVING takes an instance out, nothing else;  gRPC's own Watch drops all whose
//	                  its first word is awaited for 250 ms              Watch fails
//	draining mark     in any answer of a lifecycle server; for 30 s     the one signal that comes with
//	                                                                    the call
//	instance breaker  5 failures in a row, or half of at least 20 in    Finagle, Envoy, gRFC A50
//	                  10 s; ejected for 5 s ×2 … 60 s ±20 %
//	cap               at most half of the connected are ejected         Envoy's, Finagle's panic threshold
//	service breaker   nothing succeeded for 1 s while at least 20       longer than a rolling restart's
//	                  attempts failed; then a trial each 50 ms          gap
//	choice            the less loaded of two, drawn by weight           Linkerd, Finagle
//	slow start        from 10 % of the weight to all of it in 30 s      Envoy
//	loss doubt        a snapshot without more than half of the          a registry loses its data more
//	                  instances, or the only one: those with a live     often than half of a fleet ends
//	                  connection serve on for 5 min                     in one instant
//	concurrency       1,024 unary attempts, or 100 for each known       Envoy, gRPC's xDS
//	                  instance if that is more; no queue; streams:
//	                  no limit. Told at 80 %
//	replay buffer     256 KiB for each stream, until its first message  gRPC
//
// The options that change them are WithCallDeadline, WithAttemptTimeout, WithRetry,
// WithRetryBudget, WithBreaker (also the cap), WithServiceBreaker, WithBalancer (also
// slow start), WithHealthService and WithLoss; Without… switches one off; [ForMethod]
// confines to some methods what can be, and [ForCall] to one call. Off unless asked for
// are these:
//
//	option                       what for
//	WithActiveProbe              finds hangs of idle instances
//	WithSnapshotDir              lets a client start while its source is down
//	WithConcurrency: Adaptive    finds the limit itself, from latencies: package limit
//	WithConcurrency: Queue       attempts wait for room, in order of their priority
//	WithInstanceConcurrency      passes over an instance that is full
//	WithStreamConcurrency        bounds streams
//	WithRateLimit                bounds how many calls begin per second
//	WithThrottle                 holds back what the service would refuse
//	WithMethodBreaker            stops the calls of a method that fails wherever it goes
//	WithHedge                    a second attempt beside one that takes long
//	WithCallID                   lets servers drop repeats, so that writes can be retried:
//	                             lifecycle and once
//	WithCache, WithAlternate,    answer when no instance does
//	WithFallback
//	WithPolicyDocuments,         policies from a key of Consul or a file, while the
//	WithOwnerPolicy,             client runs
//	WithCallerPolicy
//	WithPolicyHeader             policies of one call from its metadata, in a test environment
//	WithShadow                   computes all and does nothing of it
//	WithObserver                 is told of every call and attempt
//
// What is learned (latencies, ejections, slow start, the budget's tokens) belongs to the
// client: it outlives changes of the set, reconnects, and [Client.Update].
//
// # How an instance leaves, and how fast
//
//	signal                              seen through             acts within
//	deregistered, critical, maintenance the source               one answer of it and 10 ms
//	connection lost, refused, GOAWAY    the transport            10 ms
//	NOT_SERVING                         the health Watch         10 ms
//	draining mark                       any answer               that answer
//	fails its calls                     the instance breaker     that call
//	hangs                               stall, then a probe      passed over after 4 × p99, at least 50 ms
//	slow                                the choice               its share falls at once
//
// Calls in flight on it always finish. A stream that lives long can ask for the moment:
// [Leaving]. Package lifecycle is the server's part of this.
//
// # What is repeated
//
// An attempt that was never executed (no connection, or refused before it was sent) is
// repeated for every method. One that may have been is repeated only for idempotent
// methods. The proto file says which those are, and nothing needs to be configured:
//
//	rpc Get(GetRequest) returns (Order) {
//	  option idempotency_level = NO_SIDE_EFFECTS; // or IDEMPOTENT
//	}
//
// [WithIdempotent] and [WithNotIdempotent] say so for methods whose file cannot be
// changed. A call made by a handler that itself runs under a repeated attempt is not
// repeated once it may have been executed, if its context is passed on: retries do not
// multiply down a chain.
//
// Which codes are repeated, and replies that were not hoped for, says retry.Policy. A
// server's pushback (grpc-retry-pushback-ms, or RetryInfo in the details of its error)
// says when. To repeat a write safely, have its servers drop repeats: [WithCallID].
//
// A hedge ([WithHedge]) is an attempt like a retry, only sooner: it goes to another
// instance, is paid for from the same budget, and needs an idempotent method. The call
// ends when both have ended; the one that lost is cancelled, and says nothing about its
// instance.
//
// # Streams
//
// A stream is repeated, by the same rules, until its first message is received: what was
// sent until then is kept, up to 256 KiB ([WithReplayBuffer]), and sent again. After it,
// only its user knows what has been said. Its end, not its opening, is what its instance
// is judged by. Its deadline is that of a ForMethod that names it; else it has none, nor
// has it an attempt timeout. It counts under the rate limits, and has a limit of its own.
//
// # Load
//
// What a service cannot do in time is best refused early, and not sent twice:
//
//	limit                    of what            over it
//	rate                     calls per second   waits for its turn, or ErrRateLimited
//	throttle                 a method's calls   a share is refused: ErrThrottled
//	concurrency              attempts           waits in a queue, or ErrConcurrency
//	concurrency of instance  attempts on one    it is passed over; if all are: ErrConcurrency
//
// Rate and concurrency are the client's, or those of a pattern of [ForMethod]; both may
// hold. A throttle is each method's own. While there is not room for all, [WithPriority]
// says who goes first. An instance that answers RESOURCE_EXHAUSTED, or UNAVAILABLE and
// when to come again, gets a smaller share of the calls for some seconds, and is not
// ejected for it.
//
// Nothing that surecall adds is begun if it cannot end in time, as far as the method's
// median tells: no retry, no hedge, no wait in a queue or for a rate. A call's first
// attempt is made in any case, or a method that was slow once would never be found fast
// again.
//
// The deadline of a call travels with it (grpc-timeout), so that its handler's own calls
// end in time if they are made with the handler's context. A handler that wants some of
// it left to answer in takes lifecycle.Reserve, a caller [WithFallbackReserve].
//
// # By hand
//
// [Client.SetInstanceMode], [Client.SetServiceMode] and [Client.SetMethodMode] open,
// disable and close breakers while the program runs. A breaker whose policy says DryRun
// decides, counts and tells, and holds nobody back.
//
// # To see, to explain, to steer
//
//	[Explain]                  how a call came to its error, and what would have helped
//	[Client.BadCalls]          the flight recorder: calls that went badly, the last ones
//	[Client.Status]            all that a client holds, with its counters: package status
//	[Client.StatusHandler]     the same as a page, as JSON, and for Prometheus
//	[WithEvents]               what changes, as it happens: package event
//	[WithObserver]             every call and attempt; module surecall/otel makes metrics and spans of it
//	[WithShadow]               all is computed and nothing acted on; [Client.Shadow] reports what would have been done
//	[WithDisabled]             protections switched off at run time; SURECALL_DISABLE for one start
//	[WithPolicyDocuments]      policies as JSON, from a key of Consul or a file
//	[WithPolicyHeader]         policies of one call from its metadata, in a test environment
//
// Policies come in layers, each over the one before: what code says (NewClient and Update),
// the document of the service's owner, the document of the caller, ForCall.
// [Client.Policies] shows them. Command surecall shows a service in a terminal (watch, list)
// and finds out why one cannot be reached (doctor).
//
// None of it costs a call that succeeds at its first attempt more than two atomic additions,
// until an observer is installed.
//
// # One call
//
// [Trace] tells what happened to it: its attempts, where they went, how long they waited
// and what they brought. [Pin] sends it to one instance, [Sticky] calls of one key to the
// same. [Broadcast] calls every instance, [Notify] does not wait for the answer, and [Go]
// not yet.
//
// # Targets
//
//	consul:///orders?tag=v2&dc=eu      from Consul: the agent of the CONSUL_* environment
//	consul://10.0.0.1:8500/orders      from Consul: this agent; keys are in discovery/consul
//	static:///a:1;weight=3,b:2         a list
//	static:///orders?file=fleet.json   a file, read again when it changes: discovery/static
//	memory:///orders                   what WithSource gives, a discovery/memory.Registry say
//	dns:///orders:50051                and whatever else plain gRPC resolves
//
// Datacenters in a row ("dc=eu,us") fail over in this order: each is watched on its own;
// the next is connected when fewer than half of the better one's instances are eligible,
// called when none is, and left again when that has had one for 10 s.
//
// An unknown key is an error that lists the known ones.
//
// # Errors
//
// A server's error reaches the caller with its status untouched, wrapped so that
// [Explain] knows it again: compare with errors.Is, or by its code. What surecall refuses itself is a
// [Rejection], which says in one line what an operator can act on, and matches a sentinel:
//
//	code                sentinels
//	UNAVAILABLE         ErrNoInstance, ErrServiceDown, ErrMethodDown
//	RESOURCE_EXHAUSTED  ErrConcurrency, ErrRateLimited, ErrThrottled
//
// For example:
//
//	surecall: no eligible instance of "orders": 5 known, 5 failed; last error 0.2s ago: connection refused
//
// A deadline that surecall set says so. Wrong options are reported all at once, by
// [NewClient], each with the field, its value and its bounds, and so are policies that
// contradict each other; what is valid and likely not meant is an event.ConfigWarning. A
// call with grpc.WaitForReady(true) waits for an instance to be connected instead of being
// rejected; a limit rejects it as any other.
//
// # When all goes wrong
//
// While one instance is connected, there is always one to pick: if none is eligible, the
// ejected serve, then suspects, those that say NOT_SERVING, and those that are leaving.
// While the source fails, what it last knew serves on: [Client.Source] tells.
// While nothing of the service answers, calls are rejected in well under a millisecond,
// except trials.
//
// # What it does not do
//
// It prefers no zones. It repeats no stream after its first message. And it cannot tell a
// call that was executed from one that was not when the connection breaks in between:
// that is what idempotency is for, or a server that drops repeats.
package surecall
