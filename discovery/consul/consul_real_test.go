package consul

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	"google.golang.org/grpc"
	grpchealth "google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/discovery/discoverytest"
	"github.com/surecall/surecall/internal/consultest"
)

// realSource returns a Source on a real agent.
func realSource(t *testing.T, agent *consultest.Agent, c Config) *Source {
	t.Helper()
	c.Address = agent.Addr
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestRealConformance(t *testing.T) {
	agent := consultest.StartWith(t, consultest.Options{Keep: true})
	s := realSource(t, agent, Config{})
	client, err := agent.Client()
	if err != nil {
		t.Fatal(err)
	}
	discoverytest.Run(t, discoverytest.Harness{
		Source:    s,
		Registrar: s,
		Put: func(t *testing.T, instances ...discovery.Instance) {
			for _, i := range instances {
				r := discovery.Registration{Instance: i}.WithDefaults()
				service := agentRegistration(r, i.Health)
				if i.Health != discovery.Maintenance {
					service.Check.TTL = "1h"
				}
				if err := client.Agent().ServiceRegister(service); err != nil {
					t.Fatal(err)
				}
				if err := client.Agent().UpdateTTL(checkID(r.Instance.ID), "", ttlStatus(i.Health)); err != nil {
					t.Fatal(err)
				}
				if i.Health == discovery.Maintenance {
					if err := client.Agent().EnableServiceMaintenance(r.Instance.ID, "on purpose"); err != nil {
						t.Fatal(err)
					}
				} else if err := client.Agent().DisableServiceMaintenance(r.Instance.ID); err != nil {
					t.Fatal(err)
				}
			}
		},
		Remove: func(t *testing.T, _, id string) {
			err := client.Agent().ServiceDeregisterOpts(id, (&api.QueryOptions{}).WithContext(context.Background()))
			if err != nil && !notFound(err) {
				t.Fatal(err)
			}
		},
		Break: func(*testing.T) { agent.Kill() },
		Heal: func(t *testing.T) {
			if err := agent.Restart(true); err != nil {
				t.Fatal(err)
			}
		},
		Refused:  []discovery.Query{{Service: "orders", Accept: 99}, {Service: "/"}, {Service: "orders", Failover: []string{"us"}}},
		Quiet:    true,
		Deadline: 20 * time.Second,
	})
}

// realView follows a watch in real time.
type realView struct {
	t    *testing.T
	news chan discovery.Snapshot
}

func follow(t *testing.T, s *Source, q discovery.Query) *realView {
	t.Helper()
	v := &realView{t: t, news: make(chan discovery.Snapshot, 1000)}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Watch(ctx, q, func(s discovery.Snapshot) { v.news <- s })
	}()
	t.Cleanup(func() { cancel(); <-done })
	return v
}

// until waits for a snapshot that fits; each one on the way is checked by always.
func (v *realView) until(what string, fits, always func(discovery.Snapshot) bool) discovery.Snapshot {
	v.t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	for {
		select {
		case s := <-v.news:
			if always != nil && !always(s) {
				v.t.Fatalf("on the way to %s: %+v", what, s)
			}
			if fits(s) {
				return s
			}
		case <-deadline.C:
			v.t.Fatalf("not seen: %s", what)
		}
	}
}

func has(want string) func(discovery.Snapshot) bool {
	return func(s discovery.Snapshot) bool { return s.Err == nil && s.Doubt == nil && ids(s) == want }
}

// An agent that loses everything answers with an empty list, whose index went back.
// Users keep what they had until the lease has put the instance back.
func TestRealAgentLosesItsData(t *testing.T) {
	agent := consultest.Start(t)
	s := realSource(t, agent, Config{})
	r := orders
	r.TTL = 3 * time.Second
	lease, err := s.Register(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	v := follow(t, s, discovery.Query{Service: "orders"})
	v.until("o1", has("o1 "), nil)
	if err := agent.Restart(false); err != nil {
		t.Fatal(err)
	}
	neverLost := func(s discovery.Snapshot) bool { return s.Err != nil || ids(s) == "o1 " }
	v.until("trouble", func(s discovery.Snapshot) bool { return s.Err != nil || s.Doubt != nil }, neverLost)
	v.until("o1 again", has("o1 "), neverLost)
	if err := lease.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	v.until("nothing", has(""), nil) // confirmed by the leader
}

func TestRealFields(t *testing.T) {
	agent := consultest.Start(t)
	s := realSource(t, agent, Config{})
	v := follow(t, s, discovery.Query{Service: "orders", Tags: []string{"V2"}})
	lease, err := s.Register(t.Context(), orders)
	if err != nil {
		t.Fatal(err)
	}
	got := v.until("o1", has("o1 "), nil).Instances[0]
	if want := orders.Instance; !sameInstance(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	client, err := agent.Client()
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Agent().EnableServiceMaintenance("o1", "disk swap"); err != nil {
		t.Fatal(err)
	}
	v.until("nothing", has(""), nil)
	if got := s.Explain(t.Context(), discovery.Query{Service: "orders"}); got != "Consul has 1, maintenance: disk swap" {
		t.Error(got)
	}
	if err := lease.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := s.Explain(t.Context(), discovery.Query{Service: "orders"}); got != `Consul knows no service "orders"` {
		t.Error(got)
	}
}

// A check that Health keeps critical is told with its note, and registering again, as
// happens each minute, neither heals it nor wakes those who watch.
func TestRealRegisteringAgainIsSilent(t *testing.T) {
	agent := consultest.Start(t)
	s := realSource(t, agent, Config{})
	r := orders
	r.Health = func(context.Context) (discovery.Health, string) { return discovery.Warning, "half asleep" }
	l, err := s.Register(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	v := follow(t, s, discovery.Query{Service: "orders"})
	before := v.until("o1", has("o1 "), nil).Instances[0]
	if before.Health != discovery.Warning {
		t.Errorf("health %v", before.Health)
	}
	if err := l.Update(t.Context(), orders.Instance); err != nil {
		t.Fatal(err)
	}
	changed := orders.Instance
	changed.Weight = 77
	if err := l.Update(t.Context(), changed); err != nil {
		t.Fatal(err)
	}
	after := v.until("the new weight", func(s discovery.Snapshot) bool { return s.Instances[0].Weight == 77 },
		func(s discovery.Snapshot) bool {
			return s.Err == nil && len(s.Instances) == 1 && s.Instances[0].Health == discovery.Warning
		}).Instances[0]
	if after.Incarnation != before.Incarnation {
		t.Errorf("incarnation %q became %q", before.Incarnation, after.Incarnation)
	}
}

func TestRealExplainsExpiredTTL(t *testing.T) {
	agent := consultest.Start(t)
	s := realSource(t, agent, Config{})
	v := follow(t, s, discovery.Query{Service: "orders", Accept: discovery.AcceptAny})
	r := orders
	r.TTL = time.Second
	lease, err := s.Register(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	v.until("o1", has("o1 "), nil)
	lease.(interface{ abandon() }).abandon() // as if the process had died
	v.until("critical", func(s discovery.Snapshot) bool { return s.Instances[0].Health == discovery.Critical }, nil)
	if got := s.Explain(t.Context(), discovery.Query{Service: "orders"}); got != "Consul has 1, critical: TTL expired" {
		t.Error(got)
	}
}

func TestRealPermanentErrors(t *testing.T) {
	agent := consultest.Start(t)
	s := realSource(t, agent, Config{})
	for _, q := range []discovery.Query{
		{Service: "orders", Filter: "this is no filter"},
		{Service: "orders", Filter: `Nothing == "x"`},
		{Service: "orders", Namespace: "team"},
	} {
		q, err := s.hub.agent.normalize(q)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.hub.agent.watchRead(t.Context(), q, plan{wait: firstWait, cached: true}); err == nil || !permanent(err) {
			t.Errorf("%+v: %v: want it known as permanent", q, err)
		}
	}
	if _, err := s.hub.agent.watchRead(t.Context(), discovery.Query{Service: "orders", Namespace: "default"}, plan{wait: firstWait, cached: true}); err != nil {
		t.Errorf("the default namespace: %v", err)
	}
}

// The agent's cache gives an empty list for a datacenter that does not exist.
func TestRealUnknownDatacenter(t *testing.T) {
	s := realSource(t, consultest.Start(t), Config{})
	follow(t, s, discovery.Query{Service: "orders", Datacenter: "moon"}).until("a doubt that names the datacenter", func(s discovery.Snapshot) bool {
		return s.Doubt != nil && strings.Contains(s.Doubt.Error(), "No path to datacenter")
	}, nil)
}

func TestRealACLs(t *testing.T) {
	const master = "5ecret00-0000-4000-8000-000000000000"
	agent := consultest.StartWith(t, consultest.Options{Token: master, Config: map[string]any{"acl": map[string]any{
		"enabled": true, "default_policy": "deny", "tokens": map[string]any{"initial_management": master, "agent": master},
	}}})
	s := realSource(t, agent, Config{Token: master})
	if _, err := s.Register(t.Context(), orders); err != nil {
		t.Fatal(err)
	}
	follow(t, s, discovery.Query{Service: "orders"}).until("o1", has("o1 "), nil)

	anonymous := realSource(t, agent, Config{})
	want := `Consul shows no service "orders": no token is set and its policy is to deny`
	if got := anonymous.Explain(t.Context(), discovery.Query{Service: "orders"}); got != want {
		t.Error(got)
	}
	if _, err := anonymous.Register(t.Context(), orders); !permanent(err) {
		t.Errorf("registering without a token: %v", err)
	}

	client, err := agent.Client()
	if err != nil {
		t.Fatal(err)
	}
	policy, _, err := client.ACL().PolicyCreate(&api.ACLPolicy{Name: "half", Rules: `service_prefix "" { policy = "read" }`}, nil)
	if err != nil {
		t.Fatal(err)
	}
	token, _, err := client.ACL().TokenCreate(&api.ACLToken{Policies: []*api.ACLLink{{ID: policy.ID}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	half := realSource(t, agent, Config{Token: token.SecretID})
	follow(t, half, discovery.Query{Service: "orders"}).until("a doubt that names node:read", func(s discovery.Snapshot) bool {
		return s.Doubt != nil && strings.Contains(s.Doubt.Error(), "node:read")
	}, nil)

	bad := realSource(t, agent, Config{Token: "5ecret00-0000-4000-8000-00000000bad0"})
	refused := follow(t, bad, discovery.Query{Service: "orders"}).until("an error", func(s discovery.Snapshot) bool { return s.Err != nil }, nil)
	if !permanent(refused.Err) || strings.Contains(refused.Err.Error(), "bad0") {
		t.Errorf("an unknown token: %v", refused.Err)
	}
}

// A hung agent takes connections and answers nothing.
func TestRealHungAgent(t *testing.T) {
	agent := consultest.Start(t)
	s := realSource(t, agent, Config{})
	lease, err := s.Register(t.Context(), orders)
	if err != nil {
		t.Fatal(err)
	}
	if err := agent.Pause(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	start := time.Now()
	if err := lease.Release(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Release: %v", err)
	}
	if got := s.Explain(ctx, web); !strings.HasPrefix(got, "Consul is unreachable") {
		t.Error(got)
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("took %v with a deadline of 200ms", took)
	}
	if err := agent.Resume(); err != nil {
		t.Fatal(err)
	}
}

// A gRPC check that nothing answers stays critical, also after each renewal.
func TestRealGRPCCheck(t *testing.T) {
	agent := consultest.Start(t)
	s := realSource(t, agent, Config{})
	r := orders
	r.Instance.Address = newHealthServer(t)
	r.GRPC = &discovery.GRPCCheck{Interval: 100 * time.Millisecond}
	l, err := s.Register(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	v := follow(t, s, discovery.Query{Service: "orders"})
	v.until("o1", has("o1 "), nil)
	next := r.Instance
	next.Weight = 5
	if err := l.Update(t.Context(), next); err != nil {
		t.Fatal(err)
	}
	v.until("the new weight", func(s discovery.Snapshot) bool { return len(s.Instances) == 1 && s.Instances[0].Weight == 5 },
		func(s discovery.Snapshot) bool { return ids(s) == "o1 " })
}

// newHealthServer serves the gRPC health service and returns its address.
func newHealthServer(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	healthpb.RegisterHealthServer(server, grpchealth.NewServer())
	done := make(chan error)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() { server.Stop(); <-done })
	return l.Addr().String()
}
