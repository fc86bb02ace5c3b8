//go:build unix

// Package kubernetes_test keeps the manifest in step with the server that it runs.
package kubernetes_test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/surecall/surecall/examples/internal/exampletest"
)

// manifest is what deployment.yaml says, as far as the server has to agree.
type manifest struct {
	grace   int
	command string
	args    []string
	env     []string          // names
	ports   map[string]string // number by name
	probes  []string          // "path port" of each httpGet
	preStop []string
}

// read finds things by their lines: the manifest is ours, and written so.
func read(t *testing.T) (m manifest) {
	t.Helper()
	text, err := os.ReadFile("deployment.yaml")
	if err != nil {
		t.Fatal(err)
	}
	all := func(pattern string) [][]string {
		found := regexp.MustCompile("(?m)"+pattern).FindAllStringSubmatch(string(text), -1)
		if len(found) == 0 {
			t.Fatalf("deployment.yaml has no line like %s", pattern)
		}
		return found
	}
	m.grace, _ = strconv.Atoi(all(`^ +terminationGracePeriodSeconds: (\d+)$`)[0][1])
	commands := all(`^ +command: \[(.*)\]$`)
	if len(commands) != 2 {
		t.Fatalf("deployment.yaml has %d commands, want the server's and the hook's", len(commands))
	}
	m.command, m.preStop = strings.Trim(commands[0][1], `"`), words(commands[1][1])
	for _, line := range all(`^ +- (-.*)$`) {
		m.args = append(m.args, line[1])
	}
	for _, line := range all(`^ +- name: ([A-Z_]+)$`) {
		m.env = append(m.env, line[1])
	}
	m.ports = map[string]string{}
	for _, line := range all(`^ +- \{name: (\w+), containerPort: (\d+)\}$`) {
		m.ports[line[1]] = line[2]
	}
	for _, line := range all(`^ +httpGet: \{path: (\S+), port: (\w+)\}$`) {
		m.probes = append(m.probes, line[1]+" "+line[2])
	}
	return m
}

// words are the elements of a list in brackets.
func words(list string) (w []string) {
	for _, word := range strings.Split(list, ",") {
		w = append(w, strings.Trim(word, ` "`))
	}
	return w
}

// flags are the server's, with the default of each if it has one.
func flags(t *testing.T, binary string) map[string]string {
	t.Helper()
	p := exampletest.Start(t, nil, binary, "-h")
	_ = p.Wait(t) // what help exits with is no matter
	found := map[string]string{}
	last := ""
	for line := range strings.Lines(p.Output()) {
		if name, ok := strings.CutPrefix(line, "  -"); ok {
			last, _, _ = strings.Cut(strings.TrimSpace(name), " ")
			found[last] = ""
		} else if _, value, ok := strings.Cut(line, `(default "`); ok {
			found[last], _, _ = strings.Cut(value, `"`)
		}
	}
	return found
}

func TestManifest(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the server")
	}
	m, binary := read(t), exampletest.Build(t, "../server")
	known := flags(t, binary)
	for _, arg := range m.args {
		name, _, _ := strings.Cut(arg[1:], "=")
		if _, ok := known[name]; !ok {
			t.Errorf("arg %s: the server has no flag -%s", arg, name)
		}
		for _, v := range regexp.MustCompile(`\$\((\w+)\)`).FindAllStringSubmatch(arg, -1) {
			if !slices.Contains(m.env, v[1]) {
				t.Errorf("arg %s: %s is not in env", arg, v[1])
			}
		}
	}
	for name, port := range map[string]string{"listen": "grpc", "advertise": "grpc", "admin": "admin"} {
		if _, got, err := net.SplitHostPort(m.value(name)); err != nil || got != m.ports[port] {
			t.Errorf("-%s=%s: want containerPort %q of %s: %v", name, m.value(name), m.ports[port], port, err)
		}
	}
	if host, _, _ := net.SplitHostPort(m.value("admin")); host != "0.0.0.0" {
		t.Errorf("-admin=%s: want 0.0.0.0: the kubelet's httpGet comes from outside the pod", m.value("admin"))
	}
	if _, port, _ := net.SplitHostPort(known["admin"]); port != m.ports["admin"] {
		t.Errorf("containerPort %s of admin: the hook looks for %s, where the server has it by default", m.ports["admin"], known["admin"])
	}
	if want := []string{m.command, "offline"}; !slices.Equal(m.preStop, want) {
		t.Errorf("preStop %q, want %q", m.preStop, want)
	}
	if m.grace <= 25 {
		t.Errorf("terminationGracePeriodSeconds %d: want more than the 25 that offline waits", m.grace)
	}
	if want := []string{"/readyz admin", "/healthz admin"}; !slices.Equal(m.probes, want) {
		t.Errorf("probes %q, want %q", m.probes, want)
	}
}

// The life of a pod, with the manifest's own args, paths and commands, on ports of this
// machine.
func TestTheLifeOfAPod(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the server, and waits for its drain")
	}
	m, binary := read(t), exampletest.Build(t, "../server")
	args := []string{"-static"} // no agent here
	for _, arg := range m.args {
		arg = strings.NewReplacer("$(POD_IP)", "127.0.0.1", "$(POD_NAME)", "orders-1").Replace(arg)
		for _, port := range m.ports {
			if address, ok := strings.CutSuffix(arg, ":"+port); ok {
				arg = address + ":0"
			}
		}
		args = append(args, arg)
	}
	server := exampletest.Start(t, nil, binary, args...)
	_, port, err := net.SplitHostPort(exampletest.Value(server.Await(t, "lifecycle: admin endpoint"), "on"))
	if err != nil {
		t.Fatal(err)
	}
	server.Await(t, "lifecycle: online", "address=127.0.0.1:")
	probe := func(probe string, want int) {
		t.Helper()
		path, _, _ := strings.Cut(probe, " ")
		resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%s%s", port, path))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: %s, want %d", path, resp.Status, want)
		}
	}
	ready, live := m.probes[0], m.probes[1]
	probe(ready, http.StatusOK)
	probe(live, http.StatusOK)
	hook := exampletest.Start(t, []string{"SURECALL_ADMIN=127.0.0.1:" + port}, binary, m.preStop[1:]...)
	if err := hook.Wait(t); err != nil {
		t.Errorf("preStop: %v\n%s", err, hook.Output())
	}
	probe(ready, http.StatusServiceUnavailable)
	probe(live, http.StatusOK)
	server.Signal(t, syscall.SIGTERM)
	if err := server.Wait(t); err != nil {
		t.Errorf("after SIGTERM: %v\n%s", err, server.Output())
	}
}

// value is what the manifest gives a flag of the server.
func (m manifest) value(flag string) string {
	for _, arg := range m.args {
		if v, ok := strings.CutPrefix(arg, "-"+flag+"="); ok {
			return v
		}
	}
	return ""
}
