package e2e

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/surecall/surecall/e2e/internal/badlink"
	"github.com/surecall/surecall/internal/consultest"
)

// Everybody reaches the agent over a link that stalls each connection by 0.2 to 3 s at
// random and resets one in five: the client its watch, the servers their heart-beats. The
// link is a proxy and not the kernel's netem: many kernels, those of containers and of CI
// among them, are built without sch_netem, and a proxy needs no root, resets connections
// too, and draws the same again from its seed. It loses no packets and knows nothing of TCP's
// own retransmission; TestBlackHole is what happens when the network swallows everything.
func TestBadLinkToTheAgent(t *testing.T) {
	t.Parallel()
	needBinaries(t)
	agent := consultest.StartWith(t, consultest.Options{})
	link := newLink(t, agent.Addr)
	c := newCluster(t, setup{
		agent: agent, via: link.Addr, registerVia: link.Addr, flags: all(5, "-ttl", "15s"), noControl: true,
	})
	link.SetBad(true)
	good := time.AfterFunc(30*time.Second, func() { link.SetBad(false) })
	defer good.Stop()
	time.Sleep(5 * time.Second)
	// One goes and one comes meanwhile. Who comes may have to wait for a better link.
	c.servers[0].leave(t)
	late := c.add(t, spec{id: "orders-late", flags: []string{"-ttl", "15s"}})
	t.Logf("the instance that came is eligible %v after it served", round(c.awaitEligible(t, late, time.Minute)))
	c.await(t, time.Minute, "the link is good", func() bool { return !link.Bad() })
	t.Logf("bad link: %+v", link.Stats())
	time.Sleep(2 * settle)
	c.exactly(t, c.finish(t, allowed{}))
	if stats := link.Stats(); stats.Stalls < 10 || stats.Resets == 0 {
		t.Errorf("the link was not bad: %+v", stats)
	}
}

// newLink is a proxy to addr. Its seed is printed; E2E_SEED repeats a run.
func newLink(t *testing.T, addr string) *badlink.Proxy {
	t.Helper()
	seed := seed(t)
	link, err := badlink.New(addr, seed)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(link.Close)
	return link
}

// seed is random, or E2E_SEED. It is printed.
func seed(t *testing.T) uint64 {
	t.Helper()
	seed := rand.Uint64()
	if text := os.Getenv("E2E_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("E2E_SEED: %v", err)
		}
	}
	t.Logf("E2E_SEED=%d repeats this run's draws", seed)
	return seed
}
