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
	a, err := New(binary(t), t.TempDir(), options)
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

// StartClusters runs clusters for the test, WAN-joined if there are several, and ends
// them with the test.
func StartClusters(t testing.TB, options ...ClusterOptions) []*Cluster {
	t.Helper()
	clusters, err := NewClusters(binary(t), t.TempDir(), options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, c := range clusters {
			if t.Failed() {
				t.Logf("the logs of %s end:\n%s", c.Datacenter, c.LogTails())
			}
			c.Stop()
		}
	})
	return clusters
}

// binary returns the path of Consul, or skips the test.
func binary(t testing.TB) string {
	t.Helper()
	bin := os.Getenv(BinEnv)
	if bin == "" {
		if os.Getenv(RequireEnv) == "1" {
			t.Fatalf("%s is not set, and %s=1 asks for a real Consul", BinEnv, RequireEnv)
		}
		t.Skipf("NOT TESTED AGAINST A REAL CONSUL: set %s to a Consul binary", BinEnv)
	}
	return bin
}
