// Package consultest runs real Consul agents for tests: one process each, on free
// ports of the loopback interface, without anything of the machine's own Consul. [Start]
// runs one agent, [StartClusters] runs servers that elect a leader, with client agents
// beside them, on an address each, and several datacenters if that is asked for.
//
// The binary is named by the environment variable CONSUL_BIN. Without it the test is
// skipped, or fails if SURECALL_REQUIRE_CONSUL is 1, as in CI.
package consultest
