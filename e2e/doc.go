// Package e2e proves surecall's promise outside the laboratory: a real Consul agent,
// real server processes that are killed, stopped and restarted, and an open-loop load
// that does not wait for slow calls.
//
// Its clients set a target and credentials and nothing else. Each scenario counts the
// calls that failed for their caller, which must be none, and never repeats that
// count. What the servers counted must add up with it. A timing bar runs beside plain
// gRPC in the same run, whose figures say how much of the time was the machine's, and
// may be repeated once.
//
// The tests skip without CONSUL_BIN, unless SURECALL_REQUIRE_CONSUL=1.
package e2e
