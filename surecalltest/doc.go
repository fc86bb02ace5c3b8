// Package surecalltest runs a service of several instances inside a test: real gRPC
// servers on in-memory connections, a registry in memory, and the faults of production,
// each one line. A test of a client of one's own needs nothing else. It works inside a
// testing/synctest bubble, where hours of deadlines and back-off take milliseconds:
//
//	synctest.Test(t, func(t *testing.T) {
//		cluster := surecalltest.NewCluster(t, 3)
//		client := cluster.Client()
//		cluster.Instance(0).Hang()
//		_, err := orders.NewOrdersClient(client).Get(t.Context(), &orders.GetRequest{})
//		// err is nil: another instance answered
//	})
//
// [NewCluster] runs the service of package examples/orders, and [NewClusterOf] one of
// yours; example_test.go has a test of each.
//
// # What happens in production, and its line
//
// With c a [Cluster] and i := c.Instance(0) one of its instances:
//
//	the process is killed                    i.Kill()                                i.Start()
//	the process stands still                 i.Hang()                                i.Resume()
//	the network swallows all packets         i.BlackHole()                           i.Resume()
//	the machine loses its power              i.BlackHole(); i.Kill()                 i.Resume(); i.Start()
//	calls are slow                           i.Delay(time.Second)                    i.Delay(0)
//	2 % of the calls are slow                i.DelaySome(0.02, time.Second)          i.Delay(0)
//	they take as long as you say             i.DelayFunc(func(…) time.Duration)      i.Delay(0)
//	calls fail                               i.Fail(codes.Internal)                  i.Fail(codes.OK)
//	a tenth of the calls fails               i.FailSome(0.1, codes.Internal)         i.Fail(codes.OK)
//	those that you name fail                 i.FailFunc(func(…) error)               i.Fail(codes.OK)
//	executed, and the connection lost        i.LoseAnswers(0.01)                     i.LoseAnswers(0)
//	executed, and the process killed         i.KillAfter(1)                          i.Start()
//	more load than it can take               i.Capacity(Capacity{Workers: 4, …})     i.Capacity(Capacity{})
//	an instance joins                        c.Add()
//	it leaves as a plain server does         i.Leave()                               i.Start(); i.List()
//	it leaves as one of package lifecycle    c.AddLifecycle(d), then its Leave()     i.Start(); i.List()
//	it stops and stays registered            i.Stop()                                i.Start()
//	it is deregistered and runs on           i.Delist()                              i.List()
//	its weight, health or zone changes       i.Change(func(*discovery.Instance))
//	it says NOT_SERVING                      i.Serving(false)                        i.Serving(true)
//	the registry lists nobody                c.EmptyList()                           c.Relist()
//	the registry does not answer             c.SourceDown(err)                       c.SourceUp()
//	the registry doubts its own answers      c.Registry.Doubt(err)                   c.SourceUp()
//
// The right column ends it. Faults of different kinds add up; of one kind the last one
// counts. They apply to the calls that arrive from then on.
//
// What the instances saw of it: [Cluster.Calls], and of one instance Calls, CallsOf,
// InFlight, Peak and Dials. Cluster.Calls counts attempts, so that its ratio to the calls
// that the test made is what retries and hedges added.
//
// # The order of a call at an instance
//
//	connection   Hang and BlackHole hold it, in either direction
//	Capacity     waits for a worker, is shed, or is worked on for the service time
//	Delay        waits
//	Fail         may end it
//	the handler  yours, and your interceptors around it
//	loss         LoseAnswers and KillAfter may take its answer
//
// Health checks meet only the first line, and are not counted.
//
// # Chance
//
// What happens to a share of the calls depends only on the number of the instance and on
// the number of the call at it: in a test that makes its calls one by one it is the same in
// every run. Of n calls, about n × share meet it, and as many in a row as chance makes. For
// an exact pattern there are DelayFunc and FailFunc.
//
// # Limits
//
// Connections have no latency, no bandwidth and no buffers: what is sent arrives in the
// same instant, or stands still. They never end by themselves, since there is no TCP below
// that gives up: a client without probes waits in a black hole for as long as its deadline.
// After [Instance.Resume] what stood still arrives, however long that was. There is no
// transport security unless the servers' options and the client's have it, and the address
// of every peer is "pipe". Kill ends connections, and handlers by their context alone: a
// handler that ignores it goes on, and inside a bubble has to end with the test. If the
// servers are made with grpc.WaitForHandlers, Kill waits for it. The registry does not
// notice that an instance died; [Instance.Delist] says so.
//
// A method of [Cluster] or [Instance] may be called from any goroutine, also of
// time.AfterFunc. Stop and Leave return when the calls in flight have ended, which a Hang
// delays until Resume; the others wait for no call. An argument that makes no sense fails
// the test, says what would, and changes nothing.
package surecalltest
