package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/surecall/surecall"
)

// The environment of a process of this binary that makes its first calls and ends.
const (
	newcomerTarget = "E2E_NEWCOMER_TARGET"
	newcomerDir    = "E2E_NEWCOMER_SNAPSHOTS"
	newcomerNumber = "E2E_NEWCOMER_NUMBER" // of its load
)

const firstCalls = 200

// verdict is what such a process prints.
type verdict struct {
	Issued, Failed int
	First          time.Duration // the first call
	FirstErr       string
	Source         string
}

// A process that starts while Consul is down: with a folder that an earlier one left its
// snapshot in, its first call succeeds, and all others.
func TestStartFromSnapshotWhileConsulIsDown(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := newCluster(t, setup{idle: true, options: []surecall.Option{surecall.WithSnapshotDir(dir)}})
	earlier := c.newCaller(t, c.options...)
	earlier.await(t)
	time.Sleep(5 * time.Second) // it is written after 2 to 4 s
	c.agent.Kill()

	if v := c.newcomer(t, "", 0); v.FirstErr == "" {
		t.Errorf("without a snapshot the first call succeeded: Consul was not down")
	}
	v := c.newcomer(t, dir, 1)
	if v.Failed > 0 {
		t.Errorf("%d of %d calls failed, the first with %q: want none", v.Failed, v.Issued, v.FirstErr)
	}
	if want := service + ": 5 instances from disk, not trusted, "; !strings.HasPrefix(v.Source, want) {
		t.Errorf("the client says of its source %q: want %q and why", v.Source, want)
	}
	if v.First > slow*2 {
		t.Errorf("the first call took %v: want 250ms for the source to answer, and a call's own time", v.First)
	}
}

// newcomer runs a process that makes its first calls.
func (c *cluster) newcomer(t *testing.T, snapshots string, number int) (v verdict) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), newcomerTarget+"=consul://"+c.agent.Addr+"/"+service,
		newcomerDir+"="+snapshots, newcomerNumber+"="+fmt.Sprint(number))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err == nil {
		err = json.Unmarshal(out, &v)
	}
	if err != nil {
		t.Fatalf("the process with its first calls: %v; it said %s", err, out)
	}
	t.Logf("a new process, snapshots in %q: %+v", snapshots, v)
	return v
}

// newcome is the main function of that process: a client, a call at once, and more.
func newcome() error {
	number := 0
	if _, err := fmt.Sscan(os.Getenv(newcomerNumber), &number); err != nil {
		return err
	}
	options := []surecall.Option{surecall.WithInsecure()}
	if dir := os.Getenv(newcomerDir); dir != "" {
		options = append(options, surecall.WithSnapshotDir(dir))
	}
	client, err := surecall.NewClient(os.Getenv(newcomerTarget), options...)
	if err != nil {
		return err
	}
	l := newLoad(client, time.Now(), number)
	v := verdict{Issued: firstCalls}
	for n := range firstCalls {
		l.call(mix[n%(len(mix)-1)], n, time.Now()) // all but the stream
	}
	for n, c := range l.took() {
		if n == 0 {
			v.First = c.latency()
		}
		if c.err != nil {
			if v.Failed++; v.FirstErr == "" {
				v.FirstErr = c.err.Error()
			}
		}
	}
	v.Source = client.Source().String()
	if err := client.Close(); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(v)
}
