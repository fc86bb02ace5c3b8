package surecall_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/surecall/surecall"

// bands is the import diagram: a package may import only packages of a lower band.
// An entry that ends in "/..." is a tree, whose packages may import each other; only
// in internal/... they may not, since those are unrelated, but they may speak of
// discovery and event. The nested modules may import anything and are not listed.
var bands = map[string]int{
	// 5: for users and for proof.
	"surecalltest":        5,
	"internal/consultest": 5,
	"examples/...":        5,
	"cmd/...":             5,
	// 4: the façades.
	".":             4,
	"lifecycle/...": 4,
	// 3: what a client shows of itself.
	"status": 3,
	// 2: know gRPC.
	"resolver/...": 2,
	"balancer/...": 2,
	"retry":        2,
	// 1: mechanisms.
	"breaker":                 1,
	"limit":                   1,
	"discovery/consul":        1,
	"discovery/static":        1,
	"discovery/memory":        1,
	"discovery/discoverytest": 1,
	// 0: vocabulary. examples/orders is a generated service, which surecalltest serves.
	"discovery":       0,
	"event":           0,
	"internal/...":    0,
	"examples/orders": 0,
}

// outside bounds what a package may import from outside the module and the standard
// library. Packages not listed may import what go.mod has.
var outside = map[string][]string{
	"discovery": {},
	"event":     {},
	"breaker":   {"github.com/sony/gobreaker/v2", "google.golang.org/grpc/codes"},
	"limit":     {"golang.org/x/time/rate"},
}

func TestImportsGoDownward(t *testing.T) {
	for _, pkg := range listPackages(t) {
		name := relative(pkg.ImportPath)
		band, entry, ok := bandOf(name)
		if !ok {
			t.Errorf("package %s has no band: add it to the table in arch_test.go", name)
			continue
		}
		for _, path := range pkg.Imports {
			if path != module && !strings.HasPrefix(path, module+"/") {
				continue
			}
			imported := relative(path)
			below, tree, ok := bandOf(imported)
			if !ok {
				t.Errorf("%s imports %s, which has no band", name, imported)
				continue
			}
			oneTree := below == band && tree == entry && tree != "internal/..."
			speaks := entry == "internal/..." && (imported == "discovery" || imported == "event")
			if below >= band && !oneTree && !speaks {
				t.Errorf("%s (band %d) imports %s (band %d): want a lower band", name, band, imported, below)
			}
		}
	}
}

func TestLeavesImportLittle(t *testing.T) {
	for _, pkg := range listPackages(t) {
		name := relative(pkg.ImportPath)
		allowed, ok := outside[name]
		if !ok {
			continue
		}
		for _, path := range pkg.Imports {
			first, _, _ := strings.Cut(path, "/")
			if !strings.Contains(first, ".") || strings.HasPrefix(path, module+"/") {
				continue // the standard library, or ours
			}
			if !slices.Contains(allowed, path) {
				t.Errorf("%s imports %s: want only the standard library and %v", name, path, allowed)
			}
		}
	}
}

type goPackage struct {
	ImportPath string
	Imports    []string // without those of tests
}

func listPackages(t *testing.T) []goPackage {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-json=ImportPath,Imports", "./...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var packages []goPackage
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var pkg goPackage
		if err := dec.Decode(&pkg); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("go list: %v", err)
		}
		packages = append(packages, pkg)
	}
	if len(packages) < 2 {
		t.Fatalf("go list found %d packages: want those of the module", len(packages))
	}
	return packages
}

// relative returns the folder of a package of this module, "." for the root.
func relative(path string) string {
	if path == module {
		return "."
	}
	return strings.TrimPrefix(path, module+"/")
}

// bandOf returns the band of a package and the entry of the table that says so.
func bandOf(name string) (band int, entry string, ok bool) {
	if band, ok := bands[name]; ok {
		return band, name, true
	}
	for tree := name; ; {
		if band, ok := bands[tree+"/..."]; ok {
			return band, tree + "/...", true
		}
		cut := strings.LastIndex(tree, "/")
		if cut < 0 {
			return 0, "", false
		}
		tree = tree[:cut]
	}
}
