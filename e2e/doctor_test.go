package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// doctorBinary builds the program once for all tests.
var doctorBinary = sync.OnceValues(func() (string, error) {
	path := filepath.Join(filepath.Dir(binaries.server), "surecall")
	out, err := exec.Command("go", "build", "-buildvcs=false", "-o", path, "github.com/surecall/surecall/cmd/surecall").CombinedOutput()
	if err != nil {
		err = errors.New(string(out))
	}
	return path, err
})

// visit is how the doctor is called.
type visit struct {
	target string
	args   []string
	env    []string
}

// diagnosis is what the doctor said.
type diagnosis struct {
	Target  string
	Healthy bool
	Steps   []struct{ Step, Status, Text, Remedy string }

	code int
	text string // all that was printed
}

// see runs the doctor as a user does, without anything of the machine's CONSUL_*.
func see(t *testing.T, v visit) diagnosis {
	t.Helper()
	d := diagnosis{}
	d.text, d.code = consult(t, v, "-json")
	if d.code > 1 {
		t.Fatalf("exit status %d: want 0 or 1; it printed\n%s", d.code, d.text)
	}
	if err := json.Unmarshal([]byte(d.text), &d); err != nil {
		t.Fatalf("what it printed is no JSON: %v\n%s", err, d.text)
	}
	return d
}

func consult(t *testing.T, v visit, flags ...string) (text string, code int) {
	t.Helper()
	binary, err := doctorBinary()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	args := append(append([]string{"doctor", "-timeout", "2s"}, flags...), v.args...)
	cmd := exec.CommandContext(ctx, binary, append(args, v.target)...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}, v.env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

// fault is what is wrong, and how the doctor has to say it: in the step, with these words
// in the line of the fault and in that of the remedy.
type fault struct {
	name        string
	arrange     func(*ward) visit
	step        string
	says, cures string
}

// Each broken set-up is diagnosed: the right step, a line that names the fault, another
// that gives the remedy, exit status 1, and no secret in anything that is printed.
func TestDoctorDiagnoses(t *testing.T) {
	t.Parallel()
	w := newWard(t)
	for _, faults := range [][]fault{targetFaults, agentFaults, tokenFaults, serviceFaults, registrationFaults, instanceFaults, tlsFaults, healthFaults} {
		for _, f := range faults {
			t.Run(f.name, func(t *testing.T) {
				d := see(t, f.arrange(w.patient(t)))
				i := 0
				for i < len(d.Steps) && d.Steps[i].Status != "fault" {
					i++
				}
				if i == len(d.Steps) || d.Healthy || d.code != 1 {
					t.Fatalf("no fault is found, exit status %d:\n%s", d.code, d.text)
				}
				s := d.Steps[i]
				t.Logf("%s: %s", s.Step, s.Text)
				t.Logf("remedy: %s", s.Remedy)
				if s.Step != f.step || !strings.Contains(s.Text, f.says) || !strings.Contains(s.Remedy, f.cures) {
					t.Errorf("want %q in %s, with the remedy %q", f.says, f.step, f.cures)
				}
				for _, secret := range w.secrets {
					if strings.Contains(d.text, secret) {
						t.Errorf("the secret %q is printed:\n%s", secret, d.text)
					}
				}
			})
		}
	}
}

// Sound set-ups have no fault, and no warning either.
func TestDoctorFindsNothing(t *testing.T) {
	t.Parallel()
	w := newWard(t)
	for name, arrange := range map[string]func(*ward) visit{
		"plaintext": func(w *ward) visit {
			w.registerAll(3, w.serve(plaintext))
			return w.visit("")
		},
		"TLS with client certificates": func(w *ward) visit {
			w.registerAll(1, w.serve(w.ca.mutual(w.name("*.service.consul"))))
			return w.visit("", append(w.ca.flags(), w.ca.own()...)...)
		},
		"tags, filter and a token": func(w *ward) visit {
			address := w.serve(plaintext)
			w.put(w.strict.Addr, "/v1/agent/service/register", w.passing("1", address, map[string]any{"Tags": []string{"v2"}, "Meta": map[string]string{"size": "l"}}))
			reader := w.token(`service "` + w.service + `" { policy = "read" } node_prefix "" { policy = "read" }`)
			return visit{target: "consul:///" + w.service + "?tag=V2&filter=Service.Meta.size%20==%20l", args: []string{"-token-file", w.file(reader)}, env: []string{"CONSUL_HTTP_ADDR=" + w.strict.Addr}}
		},
		"a list": func(w *ward) visit { return visit{target: "static:///" + w.serve(plaintext)} },
		"a name": func(w *ward) visit {
			return visit{target: "dns:///" + strings.Replace(w.serve(plaintext), "127.0.0.1", "localhost", 1)}
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := see(t, arrange(w.patient(t)))
			if !d.Healthy || d.code != 0 {
				t.Errorf("exit status %d: want 0 and no fault", d.code)
			}
			for _, s := range d.Steps {
				if s.Status != "ok" && !(s.Status == "skip" && s.Step == "tls") {
					t.Errorf("%s %s: %s", s.Status, s.Step, s.Text)
				}
			}
		})
	}
}

// What the registry holds may be hostile: nothing of it reaches the terminal as it is,
// and the lines stay short.
func TestDoctorAndAHostileRegistry(t *testing.T) {
	t.Parallel()
	w := newWard(t).patient(t)
	evil := "\x1b[2J\x1b]0;owned\x07\u202eevil\u0085\r\n"
	w.put(w.plain.Addr, "/v1/catalog/register", map[string]any{
		"Node": "elsewhere", "Address": "10.255.255.1",
		"Service": map[string]any{
			"Service": w.service, "ID": "id" + evil, "Address": "127.0.0.1", "Port": 1,
			"Tags": []string{evil}, "Meta": map[string]string{"surecall-server-name": evil, "weight": evil + strings.Repeat("9", 400)},
		},
		"Checks": []any{map[string]any{"Node": "elsewhere", "CheckID": "c", "Name": evil, "Status": "critical", "Output": strings.Repeat(evil, 200), "ServiceID": "id" + evil}},
	})
	for _, v := range []visit{w.visit(""), w.visit("?healthy=false"), w.visit("?tag=v2"), w.visit("?filter=" + strings.Repeat("x", 300))} {
		for _, flags := range [][]string{nil, {"-json"}} {
			text, code := consult(t, v, flags...)
			if code != 1 {
				t.Errorf("exit status %d: want 1", code)
			}
			for line := range strings.Lines(text) {
				if len(line) > 2000 {
					t.Errorf("a line of %d bytes", len(line))
				}
			}
			if i := strings.IndexFunc(text, func(r rune) bool { return r < ' ' && r != '\n' || r >= 0x7f && r < 0xa0 || r == 0x202e }); i >= 0 {
				t.Errorf("what it prints has %q:\n%q", text[i], text)
			}
		}
	}
}

// What is meant for people reads as the documentation says.
func TestDoctorForPeople(t *testing.T) {
	t.Parallel()
	w := newWard(t).patient(t)
	w.registerAll(1, w.serve(plaintext))
	text, code := consult(t, w.visit("", "-tls"))
	t.Log("\n" + text)
	for _, want := range []string{"ok     service", "FAULT  protocol", "→ remedy", "skip   health", ": 1 fault"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing", want)
		}
	}
	if code != 1 {
		t.Errorf("exit status %d: want 1", code)
	}
	for _, args := range [][]string{{"-tls", "-insecure"}, {"-nonsense"}, {"-ca", "/none"}, {"-timeout", "1ns"}, {"another", "target"}} {
		if _, code := consult(t, visit{target: "consul:///orders", args: args}); code != 2 {
			t.Errorf("%v: exit status %d: want 2", args, code)
		}
	}
}
