// Package e2e proves surecall's promise outside the laboratory: a real Consul agent,
// real server processes that are killed, stopped and restarted, and an open-loop load
// that does not wait for slow calls. Of ten calls five are idempotent, four are not, and
// one is a stream of the server's.
//
// Its clients set a target and credentials and nothing else. Each scenario counts the
// calls that failed for their caller, and never repeats that count: of idempotent calls
// none may fail; of the others only those that an instance had when it died, where the
// scenario kills one. What the servers counted must add up with it, and each order is
// noted where it was executed, so that none is executed twice. A timing bar runs
// beside plain gRPC in the same run, whose figures say how much of the time was the
// machine's, and may be repeated once.
//
// The servers live on package lifecycle with its defaults; a flag that changes one is
// printed. A black hole is made of network namespaces, which takes root and iproute2.
// The soak prints the seed of what happened: E2E_SOAK_SEED replays it, and `make soak`
// runs it for ten minutes.
//
// The tests skip without CONSUL_BIN, or what else they need, unless
// SURECALL_REQUIRE_CONSUL=1.
package e2e
