// Package e2e proves surecall's promise outside the laboratory: a real Consul agent,
// real server processes that are killed, stopped and restarted, and an open-loop load
// that does not wait for slow calls. Of ten calls five are idempotent, four are not, and
// one is a stream of the server's.
//
// Its clients set a target and credentials and nothing else. Each scenario counts the
// calls that failed for their caller, and never repeats that count: of idempotent calls
// none may fail; of the others only those that an instance had when it died, where the
// scenario kills one. What the servers counted must add up with it, and each order is
// noted where it was executed, so that none is executed twice.
//
// A timing bar may be repeated once. It runs beside plain gRPC in the same run, whose
// figures say how much of the time was the machine's, except where plain gRPC has nothing
// to show:
//
//   - what Consul and the servers take, and no call: until all are registered again after an
//     outage, or one is found or dropped; until calls stay away after POST /offline;
//   - one call after idle time, or an active probe without any (TestOneStoppedWhileIdle…),
//     and the first call of a process (TestStartFromSnapshotWhileConsulIsDown);
//   - rejections when nobody is there (TestFleetToZeroAndBack).
//
// The servers live on package lifecycle with its defaults but for these: the TTL is 3 s
// instead of 15 s, so that Consul notices within a scenario, and the weight is 100, so
// that it can be lowered. What a scenario changes beyond that is a flag, and printed. A
// black hole is made of network namespaces, which takes root and iproute2.
//
// TestDoctor… runs the program surecall against set-ups that are broken in one way each, of
// Consul and of servers: what it says and what it advises is compared, and that it says
// nothing of a sound one. TestWatch… runs it on a pseudo-terminal, and compares what stands
// on the screen.
//
// # Environment
//
//	CONSUL_BIN              the Consul to run; without it the scenarios skip
//	SURECALL_REQUIRE_CONSUL 1: fail instead of skipping
//	E2E_EVENTS              1: print every event of the clients, to find out why one fails
//	E2E_SEED                repeats what a bad link drew; each run prints its own
//	E2E_SOAK_TIME           how long TestSoak goes on, as "10m"; default 1m, at most 1h40m24s
//	E2E_SOAK_SEED           repeats what TestSoak drew; each run prints its own
//
// `make soak` runs TestSoak alone, for SOAK (10m). A seed repeats what is drawn, not how
// the machine schedules it.
//
// The tests skip without CONSUL_BIN, or what else they need, unless
// SURECALL_REQUIRE_CONSUL=1.
package e2e
