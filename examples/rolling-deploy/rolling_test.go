package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os/exec"
	"testing"
	"time"

	"github.com/surecall/surecall/examples/internal/exampletest"
	"github.com/surecall/surecall/internal/consultest"
)

// printed is the JSON as a reader of it knows it. A field that is missing stays nil.
type printed struct {
	Calls, Failed, Rounds *int
	StreamsBroken         *int     `json:"streams_broken"`
	SlowestMS             *float64 `json:"slowest_ms"`
}

func TestDeploy(t *testing.T) { deploySmall(t) }

func TestDeployOnConsul(t *testing.T) {
	agent := consultest.Start(t)
	deploySmall(t, "-consul", agent.Addr)
	client, err := agent.Client()
	if err != nil {
		t.Fatal(err)
	}
	if left, err := client.Agent().Services(); err != nil || len(left) > 0 {
		t.Errorf("left in Consul: %v, %v; want nothing", left, err)
	}
}

func deploySmall(t *testing.T, flags ...string) {
	t.Helper()
	if testing.Short() {
		t.Skip("takes 12s of real time")
	}
	flags = append(flags, "-json", "-servers", "3", "-rounds", "2", "-rate", "80", "-propagation", "300ms")
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(t.Context(), exampletest.Build(t, "."), flags...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s%s", err, &out, &errs)
	}
	text := out.String()
	var r printed
	lines := json.NewDecoder(&out)
	lines.DisallowUnknownFields()
	if err := lines.Decode(&r); err != nil || lines.More() {
		t.Fatalf("printed %q: want one JSON object: %v", text, err)
	}
	if r.Calls == nil || r.Failed == nil || r.StreamsBroken == nil || r.SlowestMS == nil || r.Rounds == nil {
		t.Fatalf("printed %q: want calls, failed, streams_broken, slowest_ms, rounds", text)
	}
	if *r.Failed != 0 || *r.StreamsBroken != 0 || *r.Rounds != 2 || *r.Calls < 1000 || *r.SlowestMS <= 0 {
		t.Errorf("printed %q: want 2 rounds, above 1000 calls, none failed", text)
	}
}

func TestFlagsAreChecked(t *testing.T) {
	good := config{servers: 5, rounds: 3, rate: 400, propagation: time.Second}
	for want, change := range map[string]func(*config){
		"-servers 1: want 2 to 20":          func(c *config) { c.servers = 1 },
		"-rounds 0: want 1 to 20":           func(c *config) { c.rounds = 0 },
		"-rate 5001: want 20 to 5000":       func(c *config) { c.rate = 5001 },
		"-propagation 0s: want more than 0": func(c *config) { c.propagation = 0 },
	} {
		c := good
		change(&c)
		if err := run(t.Context(), c); err == nil || err.Error() != want {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// Whatever fails, of whichever client, is told and decides on the exit status; the JSON
// is the surecall clients' alone.
func TestFailuresAreTold(t *testing.T) {
	r := report{sure: &score{}, plain: &score{}, rounds: make([]round, 3)}
	due := time.Now().Add(-time.Second)
	r.sure.note(idempotent, due, outcome{at: due.Add(20 * time.Millisecond)})
	if err := r.failure(); err != nil {
		t.Errorf("nothing failed: %v", err)
	}
	r.plain.note(idempotent, due, outcome{failed: errors.New("plain trouble"), at: due.Add(time.Second)})
	const plain = "plain gRPC: 1 calls failed and 0 streams broke, the first: plain trouble"
	if err := r.failure(); err == nil || err.Error() != plain {
		t.Errorf("%v, want %q", err, plain)
	}
	r.sure.note(streams, due, outcome{broken: errors.New("cut"), at: due.Add(30 * time.Millisecond)})
	if err, want := r.failure(), "surecall: 0 calls failed and 1 streams broke, the first: cut\n"+plain; err == nil || err.Error() != want {
		t.Errorf("%v, want %q", err, want)
	}
	var out bytes.Buffer
	const object = `{"calls":2,"failed":0,"streams_broken":1,"slowest_ms":30,"rounds":3}` + "\n"
	if err := r.json(&out); err != nil || out.String() != object {
		t.Errorf("%q, %v; want %q", out.String(), err, object)
	}
}
