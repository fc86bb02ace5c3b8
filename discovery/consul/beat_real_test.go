package consul

import (
	"context"
	"testing"
	"time"

	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/internal/consultest"
)

// backAfter returns how long after now the instance passes again, as its agent sees it.
func backAfter(t *testing.T, agent *consultest.Agent) time.Duration {
	t.Helper()
	start := time.Now()
	s := realSource(t, agent, Config{})
	follow(t, s, discovery.Query{Service: "orders"}).until("o1", has("o1 "), nil)
	return time.Since(start)
}

// An agent that comes back empty has the registration again within two seconds, also if
// it was away for less than a heart-beat.
func TestRealLeaseComesBackToAnEmptyAgent(t *testing.T) {
	agent := consultest.Start(t)
	if _, err := realSource(t, agent, Config{}).Register(t.Context(), orders); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := agent.Restart(false); err != nil {
			t.Fatal(err)
		}
		if took := backAfter(t, agent); took > 2*time.Second {
			t.Errorf("back after %v", took)
		}
	}
}

// An agent that was frozen for longer than the TTL has it passing again as soon.
func TestRealLeaseSurvivesAFrozenAgent(t *testing.T) {
	agent := consultest.Start(t)
	r := orders
	r.TTL = 2 * time.Second
	degraded := make(chan event.Event, 10)
	s := realSource(t, agent, Config{Events: func(e event.Event) { degraded <- e }})
	if _, err := s.Register(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if err := agent.Pause(); err != nil {
		t.Fatal(err)
	}
	<-degraded // a heart-beat got no answer for longer than the TTL
	if err := agent.Resume(); err != nil {
		t.Fatal(err)
	}
	if took := backAfter(t, agent); took > 2*time.Second {
		t.Errorf("back after %v", took)
	}
}

// What the agent's stream says of a registration with all that one can have is what the
// leader says of it: the audit raises no false alarm.
func TestRealAuditFindsNoDifference(t *testing.T) {
	agent := consultest.Start(t)
	s := realSource(t, agent, Config{})
	r := orders
	r.WarningWeight = 3
	r.Health = func(context.Context) (discovery.Health, string) { return discovery.Warning, "a note" }
	if _, err := s.Register(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	q := discovery.Query{Service: "orders", Tags: []string{"V2"}, Filter: `Service.Meta.team == "a"`}
	follow(t, s, q).until("o1", has("o1 "), nil)
	q, err := s.hub.agent.normalize(q)
	if err != nil {
		t.Fatal(err)
	}
	w := s.hub.find(q)
	for range 3 {
		view, ok := w.trusted()
		leader, err := s.hub.agent.leaderRead(t.Context(), q)
		if err != nil || !ok || !leader.led() || leader.filtered || len(leader.instances) != 1 {
			t.Fatalf("leader %+v, %v; trusted %v", leader, err, ok)
		}
		if d := differences(view, leader.instances); len(d) != 0 {
			t.Errorf("the view says %+v\nthe leader %+v", view, leader.instances)
		}
	}
}
