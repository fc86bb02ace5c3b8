package consultest

import (
	"os"
	"testing"
)

// The environment that says where Consul is, and whether it may be missing.
const (
	BinEnv     = "CONSUL_BIN"
	RequireEnv = "SURECALL_REQUIRE_CONSUL"
)

// Start runs an agent for the test and ends it with the test.
func Start(t testing.TB) *Agent {
	t.Helper()
	return StartWith(t, Options{})
}

// StartWith is Start with options.
func StartWith(t testing.TB, options Options) *Agent {
	t.Helper()
	bin := os.Getenv(BinEnv)
	if bin == "" {
		if os.Getenv(RequireEnv) == "1" {
			t.Fatalf("%s is not set, and %s=1 asks for a real Consul", BinEnv, RequireEnv)
		}
		t.Skipf("NOT TESTED AGAINST A REAL CONSUL: set %s to a Consul binary", BinEnv)
	}
	a, err := New(bin, t.TempDir(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the agent's log ends:\n%s", a.LogTail())
		}
		a.Stop()
	})
	return a
}
