package e2e

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// binaries are what the scenarios run, found or built once per test run.
var binaries struct {
	consul, server string
	skip           string // why the scenarios cannot run, or empty
}

func TestMain(m *testing.M) {
	if os.Getenv(newcomerTarget) != "" {
		if err := newcome(); err != nil {
			fmt.Fprintln(os.Stderr, "e2e:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	// Scenarios that hold no tight timing bar mostly wait, so two of them run at a time, on
	// one core too. More would be a load that fails calls by itself.
	if err := flag.Set("test.parallel", "2"); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		os.Exit(1)
	}
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if testing.Short() {
		binaries.skip = "real processes and real time: not with -short"
		return m.Run()
	}
	binaries.consul = os.Getenv("CONSUL_BIN")
	if binaries.consul == "" {
		if os.Getenv("SURECALL_REQUIRE_CONSUL") == "1" {
			fmt.Fprintln(os.Stderr, "e2e: SURECALL_REQUIRE_CONSUL is 1 and CONSUL_BIN is empty: export CONSUL_BIN=$(scripts/tool.sh consul)")
			return 1
		}
		binaries.skip = "CONSUL_BIN is empty: export CONSUL_BIN=$(scripts/tool.sh consul)"
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "surecall-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	binaries.server = filepath.Join(dir, "server")
	build := exec.Command("go", "build", "-buildvcs=false", "-o", binaries.server, "./internal/server")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "e2e: build the server:", err)
		return 1
	}
	return m.Run()
}

// needBinaries skips the test if the scenarios cannot run here.
func needBinaries(t *testing.T) {
	t.Helper()
	// go test reuses a result unless what tests read has changed. TestMain reads too early to
	// be noticed, and a result without Consul must not be reused with it.
	_, _ = os.Getenv("CONSUL_BIN"), os.Getenv("SURECALL_REQUIRE_CONSUL")
	if binaries.skip != "" {
		t.Skip(binaries.skip)
	}
}
