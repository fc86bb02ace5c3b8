// Package consultest runs real Consul agents for tests: one process each, on free
// ports of the loopback interface, without anything of the machine's own Consul.
//
// The binary is named by the environment variable CONSUL_BIN. Without it [Start]
// skips the test, or fails it if SURECALL_REQUIRE_CONSUL is 1, as in CI.
package consultest
