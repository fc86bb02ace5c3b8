package e2e

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// island is a network namespace behind another one that routes to it, so that what is
// lost is lost on the way, and no kernel at either end knows:
//
//	tests ── near ── router ── low ── island
type island struct {
	name    string // of the namespace, for ip netns exec
	address string // of a server within it
	agent   string // host:port where a server within it finds Consul

	router, here string
}

// newIsland makes one, and lets it find the agent at addr. It needs root and iproute2.
func newIsland(t *testing.T, agent string) *island {
	t.Helper()
	sweep()
	id := strconv.Itoa(os.Getpid())
	subnet := fmt.Sprintf("198.%d.%d", 18+os.Getpid()/256%2, os.Getpid()%256) // reserved for such tests: RFC 2544
	i := &island{name: islands + id + "-i", router: islands + id + "-r", here: subnet + ".1", address: subnet + ".6"}
	near := "sc" + id
	t.Cleanup(func() {
		// What is in a namespace goes some time after it: the link, at once.
		for _, args := range []string{"link delete " + near, "netns delete " + i.name, "netns delete " + i.router} {
			_ = ip(args)
		}
	})
	for _, args := range []string{
		"netns add " + i.router,
		"netns add " + i.name,
		"link add name " + near + " type veth peer name near netns " + i.router,
		"-n " + i.router + " link add name low type veth peer name low netns " + i.name,
		"address add " + i.here + "/30 dev " + near,
		"link set " + near + " up",
		"-n " + i.router + " address add " + subnet + ".2/30 dev near",
		"-n " + i.router + " address add " + subnet + ".5/30 dev low",
		"-n " + i.router + " link set near up",
		"-n " + i.router + " link set low up",
		"-n " + i.name + " address add " + i.address + "/30 dev low",
		"-n " + i.name + " link set lo up",
		"-n " + i.name + " link set low up",
		"-n " + i.name + " route add default via " + subnet + ".5",
		"route add " + subnet + ".4/30 via " + subnet + ".2",
		"netns exec " + i.router + " tee /proc/sys/net/ipv4/ip_forward",
	} {
		if err := ip(args); err != nil {
			unable(t, err)
		}
	}
	i.relay(t, agent)
	return i
}

const islands = "surecall-e2e-"

// sweep deletes the namespaces of earlier runs that were killed.
func sweep() {
	names, _ := os.ReadDir("/run/netns")
	for _, entry := range names {
		id, ok := strings.CutPrefix(entry.Name(), islands)
		pid, err := strconv.Atoi(strings.TrimRight(id, "-ir"))
		if ok && err == nil && syscall.Kill(pid, 0) == syscall.ESRCH {
			_ = exec.Command("ip", "netns", "delete", entry.Name()).Run()
		}
	}
}

// unable fails the test where everything is required, and else skips it.
func unable(t *testing.T, err error) {
	t.Helper()
	if os.Getenv("SURECALL_REQUIRE_CONSUL") == "1" {
		t.Fatalf("network namespaces: %v: want root and iproute2 (scripts/iproute.sh)", err)
	}
	t.Skipf("network namespaces: %v: want root and iproute2 (scripts/iproute.sh)", err)
}

func ip(args string) error {
	cmd := exec.Command("ip", strings.Fields(args)...)
	cmd.Stdin = strings.NewReader("1") // for tee
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", args, err, out)
	}
	return nil
}

// swallow makes the router lose, without a word, what goes to the island and what comes
// from it.
func (i *island) swallow(t *testing.T) { i.blackhole(t, "add") }

// release ends that.
func (i *island) release(t *testing.T) { i.blackhole(t, "delete") }

func (i *island) blackhole(t *testing.T, what string) {
	t.Helper()
	for _, to := range []string{i.address, i.here} {
		if err := ip("-n " + i.router + " route " + what + " blackhole " + to + "/32"); err != nil {
			t.Fatal(err)
		}
	}
}

// relay lets the island reach what listens on loopback here.
func (i *island) relay(t *testing.T, to string) {
	t.Helper()
	lis, err := net.Listen("tcp", i.here+":0")
	if err != nil {
		unable(t, err)
	}
	i.agent = lis.Addr().String()
	var mu sync.Mutex
	var open []net.Conn
	var running sync.WaitGroup
	t.Cleanup(func() {
		_ = lis.Close()
		mu.Lock()
		for _, c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		running.Wait()
	})
	running.Go(func() {
		for {
			from, err := lis.Accept()
			if err != nil {
				return
			}
			onto, err := net.Dial("tcp", to)
			if err != nil {
				_ = from.Close()
				continue
			}
			mu.Lock()
			open = append(open, from, onto)
			mu.Unlock()
			for _, pair := range [][2]net.Conn{{from, onto}, {onto, from}} {
				running.Go(func() {
					_, _ = io.Copy(pair[0], pair[1])
					_ = pair[0].Close()
				})
			}
		}
	})
}
