package main

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/surecall/surecall/internal/consultest"
)

// printed is the JSON as a reader of it knows it.
type printed struct {
	Calls, Failed, Slow, Retries int
	SlowestMS                    float64 `json:"slowest_ms"`
	BaselineFailed               int     `json:"baseline_failed"`
	BaselineSlow                 int     `json:"baseline_slow"`
	Events                       []struct {
		What        string
		AtMS        float64 `json:"at_ms"`
		EffectiveMS float64 `json:"effective_ms"`
		CallsToGone int     `json:"calls_to_gone_instance"`
	}
}

func TestShow(t *testing.T) { runShow(t) }

func TestShowOnConsul(t *testing.T) { runShow(t, "-consul", consultest.Start(t).Addr) }

func runShow(t *testing.T, flags ...string) {
	t.Helper()
	if testing.Short() {
		t.Skip("takes 6s of real time")
	}
	binary := filepath.Join(t.TempDir(), "quickstart")
	if runtime.GOOS == "windows" {
		binary += ".exe"
	}
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(t.Context(), binary, append(flags, "-json", "-duration", "6s", "-rate", "200")...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s%s", err, &out, &errs)
	}
	var r printed
	lines := json.NewDecoder(&out)
	lines.DisallowUnknownFields()
	if err := lines.Decode(&r); err != nil || lines.More() {
		t.Fatalf("printed %q: want one JSON object: %v", out.String(), err)
	}
	if r.Failed != 0 || r.Calls < 1100 {
		t.Errorf("%d of %d calls failed, want none of about 1,200", r.Failed, r.Calls)
	}
	if r.BaselineFailed == 0 {
		t.Error("no call of plain gRPC failed: nothing happened to the servers")
	}
	var what []string
	for _, e := range r.Events {
		what = append(what, e.What)
		if e.EffectiveMS < 0 {
			t.Errorf("%s at %v ms took no effect", e.What, e.AtMS)
		}
	}
	if got := strings.Join(what, " "); got != "weight kill stop leave join" {
		t.Errorf("events %q, want weight kill stop leave join", got)
	}
}

func TestFlagsAreChecked(t *testing.T) {
	for _, c := range []struct {
		config config
		want   string
	}{
		{config{duration: 1, rate: 400}, "-duration 1ns: want at least 4s"},
		{config{duration: 1e10, rate: 0}, "-rate 0: want 20 to 5000"},
	} {
		if err := run(c.config); err == nil || err.Error() != c.want {
			t.Errorf("%+v: %v, want %q", c.config, err, c.want)
		}
	}
}

func TestEffect(t *testing.T) {
	const ms = 1e6
	w := &wire{sent: []attempt{{90 * ms, "a"}, {110 * ms, "a"}, {120 * ms, "b"}, {150 * ms, "a"}, {900 * ms, "a"}}}
	for _, c := range []struct {
		name   string
		scene  scene
		after  float64
		toGone int
	}{
		{"a trial later is no delay", scene{at: 100 * ms, address: "a"}, 50 * ms, 3},
		{"a trial is all that was sent", scene{at: 160 * ms, address: "a"}, 0, 1},
		{"nothing was sent", scene{at: 200 * ms, address: "b"}, 0, 0},
		{"calls went there until it was back", scene{at: 100 * ms, until: 200 * ms, address: "a"}, -1, 2},
		{"the first call to one that came", scene{at: 100 * ms, address: "b", kind: arrived}, 20 * ms, 0},
		{"no call to one that came", scene{at: 200 * ms, address: "b", kind: arrived}, -1, 0},
	} {
		after, toGone := c.scene.effect(w, 250*ms)
		if float64(after) != c.after || toGone != c.toGone {
			t.Errorf("%s: after %v, %d sent; want %v, %d", c.name, after, toGone, c.after, c.toGone)
		}
	}
}

func TestBar(t *testing.T) {
	s := &screen{}
	for _, c := range []struct {
		served map[int]int
		want   string
	}{
		{map[int]int{}, "                    "},
		{map[int]int{1: 100}, "11111111111111111111"},
		{map[int]int{1: 30, 2: 30, 0: 40}, "111111222222xxxxxxxx"},
		{map[int]int{1: 80, 3: 81, 4: 79, 5: 80, 6: 80}, "11113333444455556666"},
	} {
		calls := 0
		for _, n := range c.served {
			calls += n
		}
		if got := s.bar(c.served, calls); got != c.want {
			t.Errorf("%v: %q, want %q", c.served, got, c.want)
		}
	}
}

func TestFold(t *testing.T) {
	if got, want := fold("one two three four", 11), "  one two\n  three\n  four"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
