package e2e

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// withoutRaceDetector runs the test in a build that has none: with it the clients of some
// scenarios need more than a small machine has, and what fails then is their own doing.
func withoutRaceDetector(t *testing.T, scenario func(*testing.T)) {
	t.Helper()
	needBinaries(t)
	if !raceDetector {
		scenario(t)
		return
	}
	plain := filepath.Join(t.TempDir(), "plain.test")
	build := exec.CommandContext(t.Context(), "go", "test", "-c", "-o", plain, ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build without the race detector: %v\n%s", err, out)
	}
	// The process dies with the thread that starts it, and its servers with it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(t.Context(), plain, "-test.v", "-test.run", "^"+t.Name()+"$")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		t.Log(strings.TrimSpace(lines.Text()))
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("without the race detector: %v", err)
	}
}
