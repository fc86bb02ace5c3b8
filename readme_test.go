package surecall_test

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/discovery/consul"
	"github.com/surecall/surecall/internal/consultest"
)

// What README.md shows as Go is code that compiles: each block stands, letter for
// letter, in one of these files.
func TestREADMEShowsCompiledCode(t *testing.T) {
	files := []string{"example_test.go", "example_statuspage_test.go"}
	more, err := filepath.Glob("examples/*/*.go")
	if err != nil {
		t.Fatal(err)
	}
	var sources []string
	for _, name := range append(files, more...) {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		sources = append(sources, string(text))
	}
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?ms)^```go\n(.*?)^```$").FindAllStringSubmatch(string(readme), -1)
	if len(blocks) < 2 {
		t.Fatalf("README.md has %d blocks of Go, want the client and the server", len(blocks))
	}
	for _, b := range blocks {
		if !anyContains(sources, b[1]) {
			t.Errorf("README.md shows code that stands in none of the examples:\n%s", b[1])
		}
	}
}

func anyContains(sources []string, block string) bool {
	for _, s := range sources {
		if strings.Contains(s, block) {
			return true
		}
	}
	return false
}

// README.md links to files and folders that exist.
func TestREADMELinksExist(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`\]\(([^)#]+)\)`).FindAllStringSubmatch(string(readme), -1) {
		if strings.Contains(m[1], "://") {
			continue
		}
		if _, err := os.Stat(m[1]); err != nil {
			t.Errorf("README.md links to %s: %v", m[1], err)
		}
	}
}

// The client and the server that README.md shows, with a real Consul.
func TestREADMECodeRuns(t *testing.T) {
	agent := consultest.Start(t)
	t.Setenv("CONSUL_HTTP_ADDR", agent.Addr)
	registry, err := consul.New(consul.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer registry.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	served := make(chan error, 1)
	go func() { served <- serve(ctx, "127.0.0.1:0", &shop{}, registry) }()
	awaitInstance(t, registry)
	order, err := fetch(t.Context(), "7")
	if err != nil || order.GetId() != "7" {
		t.Errorf("fetched %v: %v", order, err)
	}
	cancel()
	if err := <-served; err != nil {
		t.Errorf("serve: %v", err)
	}
}

// awaitInstance returns when the registry lists an instance of orders.
func awaitInstance(t *testing.T, registry discovery.Source) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_ = registry.Watch(ctx, discovery.Query{Service: "orders"}, func(s discovery.Snapshot) {
		if len(s.Instances) > 0 {
			cancel()
		}
	})
}
