package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

// The exit status and where the text goes are what scripts rely on.
func TestRun(t *testing.T) {
	for _, test := range []struct {
		args        string
		code        int
		out, errors string // what stdout and stderr have; empty: nothing
	}{
		{"", 2, "", "surecall doctor [flags] TARGET"},
		{"help", 0, "surecall doctor [flags] TARGET", ""},
		{"--help", 0, "surecall version", ""},
		{"help help", 0, "surecall version", ""},
		{"help version", 0, "usage: surecall version", ""},
		{"help doctor", 0, "-health-service", ""},
		{"doctor --help", 0, "usage: surecall doctor", ""},
		{"doctor -h", 0, "usage: surecall doctor", ""},
		{"cure", 2, "", `unknown command "cure"`},
		{"help cure", 2, "", `unknown command "cure"`},
		{"version", 0, "surecall ", ""},
		{"version now", 2, "", "usage: surecall version"},
		{"doctor", 2, "", "usage: surecall doctor"},
		{"doctor -cert a static:///a:1", 2, "", "want both or neither"},
		{"doctor http://a:1/surecall/", 1, "surecall list shows a status page", ""},
		{"doctor a b", 2, "", `2 targets, ["a" "b"]: want one`},
		{"doctor -cure a", 2, "", "not defined: -cure; surecall doctor -h lists the flags"},
		{"doctor -ca none.pem static:///a:1", 2, "", "surecall: -ca: open none.pem"},
		{"doctor consul://orders -json", 1, `"status": "fault"`, ""},
		{"doctor consul://orders", 1, "FAULT  target", ""},
		{"doctor -json consul://orders", 1, `"status": "fault"`, ""},
	} {
		var out, errors bytes.Buffer
		code := run(t.Context(), strings.Fields(test.args), &out, &errors)
		if code != test.code || !has(out.String(), test.out) || !has(errors.String(), test.errors) {
			t.Errorf("surecall %s: exit status %d, stdout %q, stderr %q: want %d, %q, %q", test.args, code, &out, &errors, test.code, test.out, test.errors)
		}
	}
}

func has(text, want string) bool { return strings.Contains(text, want) && (want != "" || text == "") }

// The package comment lists the flags that there are.
func TestUsageInTheComment(t *testing.T) {
	var out, none bytes.Buffer
	for _, command := range []string{"doctor", "watch", "list"} {
		run(t.Context(), []string{"help", command}, &out, &none)
	}
	text, err := os.ReadFile("main.go")
	if err != nil {
		t.Fatal(err)
	}
	comment, _, _ := strings.Cut(string(text), "\npackage main")
	for line := range strings.Lines(out.String()) {
		if name, ok := strings.CutPrefix(line, "  -"); ok {
			if name, _, _ = strings.Cut(strings.TrimSpace(name), " "); !strings.Contains(comment, "-"+strings.TrimSpace(name)) {
				t.Errorf("the package comment lacks -%s", name)
			}
		}
	}
}
