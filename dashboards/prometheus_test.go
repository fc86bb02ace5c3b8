package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait, on machines that are busy too.
const patience = 2 * time.Minute

// await returns when done says nothing, and ends the test with what it said last.
func await(t *testing.T, what string, done func() string) {
	t.Helper()
	began := time.Now()
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		missing := done()
		if missing == "" {
			t.Logf("%s: after %v", what, time.Since(began).Round(100*time.Millisecond))
			return
		}
		if time.Since(began) > patience {
			t.Fatalf("%s: not within %v:\n%s", what, patience, missing)
		}
		<-tick.C
	}
}

// prometheusPath returns the program: PROMETHEUS_BIN, or what scripts/prometheus.sh finds or
// installs.
func prometheusPath(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("needs Prometheus: not with -short")
	}
	var problem strings.Builder
	script := exec.CommandContext(t.Context(), "../scripts/prometheus.sh")
	script.Stderr = &problem
	out, err := script.Output()
	if err != nil {
		t.Fatalf("scripts/prometheus.sh: %v\n%s", err, problem.String())
	}
	return strings.TrimSpace(string(out))
}

// prometheus is a running one.
type prometheus struct{ address string }

// target is what is scraped as one job.
type target struct{ job, address, params string }

// startPrometheus starts one that scrapes the targets each second, and ends it with the test.
// rules may be empty.
func startPrometheus(t *testing.T, rules string, targets ...target) *prometheus {
	t.Helper()
	binary, dir := prometheusPath(t), t.TempDir()
	config := "global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 500ms}\nrule_files: [rules.yml]\nscrape_configs:\n"
	for _, to := range targets {
		config += fmt.Sprintf("  - {job_name: %q, static_configs: [{targets: [%q]}], params: {%s}}\n", to.job, to.address, to.params)
	}
	for name, text := range map[string]string{"prometheus.yml": config, "rules.yml": rules} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p := &prometheus{address: freeAddress(t)}
	var log lockedBuffer
	cmd := exec.Command(binary, "--config.file="+filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+p.address, "--log.level=warn")
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("Prometheus says:\n%s", log.String())
		}
	})
	await(t, "Prometheus is ready", func() string {
		resp, err := http.Get("http://" + p.address + "/-/ready") //nolint:noctx // bounded by await
		if err != nil {
			return err.Error() + "\n" + log.String()
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return resp.Status
		}
		return ""
	})
	return p
}

// freeAddress returns a loopback address that nobody listens on now.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

type lockedBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// get asks Prometheus' API.
func (p *prometheus) get(path string, query url.Values, into any) error {
	resp, err := http.Get("http://" + p.address + "/api/v1/" + path + "?" + query.Encode()) //nolint:noctx // bounded by await
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var answer struct {
		Status, Error string
		Data          json.RawMessage
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return err
	}
	if answer.Status != "success" {
		return fmt.Errorf("%s: %s", resp.Status, answer.Error)
	}
	return json.Unmarshal(answer.Data, into)
}

// sample is one series of an answer.
type sample struct {
	Metric map[string]string
	Value  [2]any // when, and what as a string
}

func (p *prometheus) query(expr string) ([]sample, error) {
	var answer struct{ Result []sample }
	err := p.get("query", url.Values{"query": {expr}}, &answer)
	return answer.Result, err
}

// alert is one that is pending or firing.
type alert struct {
	Labels, Annotations map[string]string
	State               string
}

func (p *prometheus) alerts() ([]alert, error) {
	var answer struct{ Alerts []alert }
	err := p.get("alerts", nil, &answer)
	return answer.Alerts, err
}

// evaluated reports what is wrong with the evaluation of the rules, or that one of them has
// not been evaluated since.
func (p *prometheus) evaluated(since time.Time) error {
	var answer struct {
		Groups []struct {
			LastEvaluation time.Time
			Rules          []struct{ Name, Health, LastError string }
		}
	}
	if err := p.get("rules", nil, &answer); err != nil {
		return err
	}
	for _, g := range answer.Groups {
		if g.LastEvaluation.Before(since) {
			return fmt.Errorf("not evaluated since %v", since)
		}
		for _, r := range g.Rules {
			if r.Health != "ok" {
				return fmt.Errorf("%s: %s: %s", r.Name, r.Health, r.LastError)
			}
		}
	}
	return nil
}

// hasty returns rules in which time goes faster: what must last does so for a second,
// minutes of looking back are seconds, and a hundred calls in 15 of them are ten. The other
// conditions stay.
func hasty(rules string) string {
	rules = regexp.MustCompile(`(?m)^(\s+for:) \S+$`).ReplaceAllString(rules, "$1 1s")
	return strings.NewReplacer("[15m])) > 100", "[5s])) > 10", "[5m]", "[5s]", "[15m]", "[5s]", "[30m]", "[30s]", "[1d] offset 1h", "[20s] offset 25s").Replace(rules)
}
