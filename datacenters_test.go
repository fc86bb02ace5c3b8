package surecall_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/discovery/memory"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/surecalltest"
)

// datacenters is a source with a registry for each datacenter.
type datacenters map[string]*memory.Registry

func (d datacenters) Watch(ctx context.Context, q discovery.Query, update func(discovery.Snapshot)) error {
	registry := d[q.Datacenter]
	q.Datacenter = ""
	return registry.Watch(ctx, q, update)
}

// listed is how instances of a cluster are registered.
func listed(instances []*surecalltest.Instance) []discovery.Instance {
	var all []discovery.Instance
	for _, i := range instances {
		all = append(all, discovery.Instance{ID: i.ID(), Service: surecalltest.Service, Address: i.Address(), Weight: 1, Incarnation: "1"})
	}
	return all
}

// overTwo returns a client that calls the near datacenter, and the far one if it must.
func overTwo(t *testing.T, near, far []discovery.Instance, opts ...surecall.Option) (*surecall.Client, datacenters) {
	t.Helper()
	source := datacenters{"near": memory.New(), "far": memory.New()}
	source["near"].Set(surecalltest.Service, near...)
	source["far"].Set(surecalltest.Service, far...)
	client, err := surecall.NewClient("consul:///orders?dc=near,far", append(opts, surecall.WithSource(source))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	if err := client.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
	return client, source
}

// nearAndFar is overTwo for a cluster whose first instances are the near ones.
func nearAndFar(t *testing.T, c *surecalltest.Cluster, near int, opts ...surecall.Option) (*surecall.Client, datacenters) {
	t.Helper()
	all := c.Instances()
	return overTwo(t, listed(all[:near]), listed(all[near:]), append([]surecall.Option{c.Options()}, opts...)...)
}

// during returns how many calls reached each instance while do ran.
func during(c *surecalltest.Cluster, do func()) []int {
	before := reached(c)
	do()
	after := reached(c)
	for i := range after {
		after[i] -= before[i]
	}
	return after
}

// failures is how many results are errors.
func failures(results []result) (n int) {
	for _, r := range results {
		if r.err != nil {
			n++
		}
	}
	return n
}

// A datacenter that is gone swallows all that is sent there. Its dials hang, as many as
// may be under way at a time; the other's do not wait for them.
func TestNearDatacenterIsUnreachable(t *testing.T) {
	for _, instances := range []int{1, 300} {
		bubble(t, func(t *testing.T) {
			cluster := surecalltest.NewCluster(t, 1)
			var gone []discovery.Instance
			for n := range instances {
				gone = append(gone, discovery.Instance{
					ID: fmt.Sprint("gone-", n), Service: surecalltest.Service, Address: fmt.Sprintf("10.1.%d.%d:80", n/250, n%250+1), Weight: 1, Incarnation: "1",
				})
			}
			began := time.Now()
			client, _ := overTwo(t, gone, listed(cluster.Instances()), cluster.Options(),
				surecall.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
					if strings.HasPrefix(address, "10.1.") {
						<-ctx.Done()
						return nil, ctx.Err()
					}
					return cluster.Dial(ctx, address)
				}))
			get(t, client)
			if took := time.Since(began); took > 2*time.Second {
				t.Errorf("%d instances are gone: the first call was served after %v: want within 2s", instances, took)
			}
		})
	}
}

// The near datacenter answers UNAVAILABLE to everything. Half of its instances may be
// ejected at most, but calls have somewhere to go.
func TestNearDatacenterOnlyFails(t *testing.T) {
	for _, shape := range [][2]int{{1, 1}, {5, 3}, {5, 5}} {
		bubble(t, func(t *testing.T) {
			near, far := shape[0], shape[1]
			cluster := surecalltest.NewCluster(t, near+far)
			client, _ := nearAndFar(t, cluster, near)
			load(t, client, getMethod, 5*time.Millisecond, time.Second)
			for _, i := range cluster.Instances()[:near] {
				i.Fail(codes.Unavailable)
			}
			if n := failures(load(t, client, getMethod, 10*time.Millisecond, 5*time.Second)); n > 25 {
				t.Errorf("%d near, %d far: %d of 500 calls failed at first: want few", near, far, n)
			}
			for range 2 {
				if n := failures(load(t, client, getMethod, 40*time.Millisecond, 40*time.Second)); n > 5 {
					t.Errorf("%d near, %d far: %d of 1000 calls failed in 40 s: want a handful", near, far, n)
				}
			}
		})
	}
}

// However the near datacenter goes, no idempotent call fails, and the far one serves. When
// it has been back for 10 s it serves again, and the far one stands by when nobody has
// needed it for long.
func TestNearDatacenterGoesAndComesBack(t *testing.T) {
	for _, test := range []struct {
		name     string
		goes     func(*surecalltest.Instance)
		isBack   func(*surecalltest.Instance)
		slow     time.Duration // the longest that a call may take
		redialed time.Duration // how long its return may go unnoticed
	}{
		{"hangs", (*surecalltest.Instance).Hang, (*surecalltest.Instance).Resume, 250 * time.Millisecond, 6 * time.Second},
		{"is killed", (*surecalltest.Instance).Kill, (*surecalltest.Instance).Start, 50 * time.Millisecond, 4 * time.Second},
		{"says NOT_SERVING", func(i *surecalltest.Instance) { i.Serving(false) }, func(i *surecalltest.Instance) { i.Serving(true) }, 50 * time.Millisecond, 0},
	} {
		for _, near := range []int{1, 5} {
			t.Run(fmt.Sprintf("%d %s", near, test.name), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					cluster := surecalltest.NewCluster(t, near+3)
					client, _ := nearAndFar(t, cluster, near)
					calls := func(every, d time.Duration) (nears, fars int) {
						n := during(cluster, func() { wantAll(t, load(t, client, getMethod, every, d), test.slow) })
						return sum(n[:near]), sum(n[near:])
					}
					if _, fars := calls(2*time.Millisecond, time.Second); fars > 0 {
						t.Errorf("%d calls went far while near serves", fars)
					}
					for _, i := range cluster.Instances()[:near] {
						test.goes(i)
					}
					calls(2*time.Millisecond, time.Second)
					if nears, _ := calls(20*time.Millisecond, 9*time.Second); nears > 0 {
						t.Errorf("%d calls reached those that are gone", nears)
					}
					for _, i := range cluster.Instances()[:near] {
						test.isBack(i)
					}
					if nears, fars := calls(20*time.Millisecond, 9*time.Second); nears > 2*near {
						t.Errorf("%d calls went near in the first 9 s, %d far: want trials only", nears, fars)
					}
					advance(2*time.Second + test.redialed)
					if nears, fars := calls(20*time.Millisecond, 2*time.Second); fars > 0 {
						t.Errorf("%d calls went near after 10 s, %d far: want all near", nears, fars)
					}
					advance(5 * time.Minute)
					for _, i := range cluster.Instances()[near:] {
						if got := stateOf(client, i.ID()); got != event.Standby {
							t.Errorf("state of a far one in the end: %v: want %v", got, event.Standby)
						}
					}
				})
			})
		}
	}
}

// Those who stood by for long start at once when they are needed, all of them: the first
// to be connected used to get all calls, since the others began slowly.
func TestStandbySharesTheLoadAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 10)
		client, _ := nearAndFar(t, cluster, 5, surecall.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			advance(time.Duration(address[len("10.0.0.")]-'0') * 7 * time.Millisecond) // they connect one after another
			return cluster.Dial(ctx, address)
		}))
		teach(t, cluster, client, 100, 2*time.Millisecond)
		advance(time.Minute)
		serving(cluster.Instances()[:5], false)
		for second := range 4 {
			n := during(cluster, func() {
				wantAll(t, load(t, client, getMethod, 2*time.Millisecond, time.Second), 200*time.Millisecond)
			})
			for k, calls := range n[5:] {
				if calls > 2*sum(n)/5 {
					t.Errorf("second %d: %d of %d calls went to one of five, orders-%d: %v", second, calls, sum(n), k+6, n)
				}
			}
		}
	})
}

// A moment's suspicion of the near datacenter moves no call: it answers probes. The far
// one is connected, since it was needed a moment ago.
func TestSlowCallsMoveNoDatacenter(t *testing.T) {
	for _, slow := range []time.Duration{70 * time.Millisecond, 3 * time.Second} {
		bubble(t, func(t *testing.T) {
			cluster := surecalltest.NewCluster(t, 4)
			client, _ := nearAndFar(t, cluster, 2)
			near := cluster.Instances()[:2]
			serving(near, false)
			advance(time.Second)
			serving(near, true)
			advance(11 * time.Second)
			n := during(cluster, func() {
				load(t, client, placeMethod, 10*time.Millisecond, 2*time.Second)
				for range 3 {
					delay(near, slow)
					load(t, client, placeMethod, time.Millisecond, 4*time.Millisecond)
					delay(near, 0)
					load(t, client, placeMethod, 50*time.Millisecond, 2*time.Second)
				}
			})
			if fars := sum(n[2:]); fars > 0 {
				t.Errorf("calls that take %v: %d went to the far datacenter: want none", slow, fars)
			}
		})
	}
}

func serving(instances []*surecalltest.Instance, serving bool) {
	for _, i := range instances {
		i.Serving(serving)
	}
}

func delay(instances []*surecalltest.Instance, d time.Duration) {
	for _, i := range instances {
		i.Delay(d)
	}
}

// The last of the near datacenter fails its calls. Each is repeated in the far one, which is
// connected already: at once, and never on the same instance while another is eligible.
func TestRetriesGoToTheFarDatacenter(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 6)
		client, _ := nearAndFar(t, cluster, 3)
		load(t, client, getMethod, 5*time.Millisecond, time.Second)
		cluster.Instance(0).Kill()
		cluster.Instance(1).Kill()
		advance(time.Second)
		cluster.Instance(2).Fail(codes.Unavailable)
		began := time.Now()
		if n := gets(t, cluster, client, 1); n[2] != 1 || sum(n[3:]) != 1 || time.Since(began) > 0 {
			t.Errorf("attempts of a call that the last near one fails: %v, in %v: want one there, and one far at once", n, time.Since(began))
		}
		wantAll(t, load(t, client, getMethod, 5*time.Millisecond, time.Second), 50*time.Millisecond)
	})
}
