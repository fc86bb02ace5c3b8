package consul

import (
	"context"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

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
		Refused:  []discovery.Query{{Service: "orders", Accept: 99}, {Service: "/"}},
		Quiet:    true,
		Deadline: 20 * time.Second,
	})
}
