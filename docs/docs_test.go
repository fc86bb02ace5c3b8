// Package docs_test holds the documents to what is there: their links, the names of the
// library that they use, and their code.
package docs_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/status"
)

// documents returns the text of each document, by its path.
func documents(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	for _, pattern := range []string{"*.md", "migration/*.md"} {
		names, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			texts[name] = read(t, name)
		}
	}
	if len(texts) < 10 {
		t.Fatalf("found %d documents, want at least 10", len(texts))
	}
	return texts
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

var (
	fence    = regexp.MustCompile("(?ms)^```([a-z]*)\n(.*?)^```$")
	link     = regexp.MustCompile(`\]\(([^)]+)\)`)
	heading  = regexp.MustCompile(`(?m)^#+ (.*)$`)
	inCode   = regexp.MustCompile("`([^`\n]+)`")
	symbol   = regexp.MustCompile(`\b(surecall|event|lifecycle|once|balancer|breaker|retry|limit|resolver|consul|discovery|status|surecalltest)\.([A-Z]\w*)(?:\.([A-Z]\w*))?`)
	metric   = regexp.MustCompile(`\bsurecall\.(client|server)\.[a-z_.]*[a-z]`)
	notASlug = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// Links are relative, and lead to files and headings that exist.
func TestLinksExist(t *testing.T) {
	for name, text := range documents(t) {
		for _, m := range link.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
			path, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(path, "://") || strings.HasPrefix(path, "/") {
				t.Errorf("%s: link to %s: want a relative one", name, m[1])
				continue
			}
			to := name
			if path != "" {
				to = filepath.Join(filepath.Dir(name), path)
			}
			if _, err := os.Stat(to); err != nil {
				t.Errorf("%s: link to %s: %v", name, m[1], err)
				continue
			}
			if anchor != "" && !slices.Contains(anchors(read(t, to)), anchor) {
				t.Errorf("%s: link to %s: no such heading", name, m[1])
			}
		}
	}
}

// anchors returns what the headings of a document can be linked by.
func anchors(text string) (all []string) {
	for _, m := range heading.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
		slug := notASlug.ReplaceAllString(strings.ToLower(m[1]), "")
		all = append(all, strings.ReplaceAll(slug, " ", "-"))
	}
	return all
}

// Every document is in the index.
func TestIndexIsComplete(t *testing.T) {
	index := read(t, "README.md")
	for name := range documents(t) {
		if name != "README.md" && !strings.Contains(index, "]("+name+")") {
			t.Errorf("README.md does not link to %s", name)
		}
	}
}

// A block of Go stands, letter for letter, in a file of this module or in an example of
// the library.
func TestGoBlocksAreCompiled(t *testing.T) {
	var sources []string
	for _, root := range []string{"migration", "../examples"} {
		err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
			if err == nil && strings.HasSuffix(path, ".go") {
				sources = append(sources, read(t, path))
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	blocks := 0
	for name, text := range documents(t) {
		for _, m := range fence.FindAllStringSubmatch(text, -1) {
			if m[1] != "go" {
				continue
			}
			blocks++
			if !slices.ContainsFunc(sources, func(s string) bool { return strings.Contains(s, m[2]) }) {
				t.Errorf("%s: code that stands in no file:\n%s", name, m[2])
			}
		}
	}
	if blocks < 10 {
		t.Errorf("found %d blocks of Go, want at least 10", blocks)
	}
}

// A block of JSON is a policy document that clients take.
func TestJSONBlocksArePolicies(t *testing.T) {
	for name, text := range documents(t) {
		for _, m := range fence.FindAllStringSubmatch(text, -1) {
			if m[1] != "json" {
				continue
			}
			if _, err := surecall.ParsePolicy([]byte(m[2])); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// The runbooks of the alerts are sections that exist.
func TestRunbooksExist(t *testing.T) {
	sections := anchors(read(t, "troubleshooting.md"))
	runbooks := regexp.MustCompile(`runbook_url: \S*/docs/(\S+)`).FindAllStringSubmatch(read(t, "../dashboards/rules.yml"), -1)
	if len(runbooks) < 10 {
		t.Fatalf("found %d runbooks, want at least 10", len(runbooks))
	}
	for _, m := range runbooks {
		path, anchor, _ := strings.Cut(m[1], "#")
		if path != "troubleshooting.md" || !slices.Contains(sections, anchor) {
			t.Errorf("dashboards/rules.yml: %s: no such section", m[1])
		}
	}
}

// The packages that documents name things of, and where they are.
var packages = map[string]string{
	"surecall": "..", "event": "../event", "lifecycle": "../lifecycle", "once": "../lifecycle/once",
	"balancer": "../balancer", "breaker": "../breaker", "retry": "../retry", "limit": "../limit",
	"resolver": "../resolver", "consul": "../discovery/consul", "discovery": "../discovery",
	"status": "../status", "surecalltest": "../surecalltest",
}

// What is named in backticks as package.Name or package.Type.Member exists.
func TestNamesExist(t *testing.T) {
	known := map[string]map[string]bool{}
	for name, dir := range packages {
		known[name] = names(t, dir)
	}
	found := 0
	for name, text := range documents(t) {
		for _, code := range inCode.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
			for _, m := range symbol.FindAllStringSubmatch(code[1], -1) {
				found++
				want := m[2]
				if m[3] != "" {
					want += "." + m[3]
				}
				if !known[m[1]][want] {
					t.Errorf("%s: `%s`: package %s has no %s", name, code[1], m[1], want)
				}
			}
		}
	}
	if found < 50 {
		t.Errorf("found %d names, want at least 50", found)
	}
}

// names returns what package dir exports: functions, types, constants, variables, and as
// Type.Member the fields and methods of its types.
func names(t *testing.T, dir string) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: %d files: %v", dir, len(files), err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			declared(d, all)
		}
	}
	return all
}

func declared(d ast.Decl, all map[string]bool) {
	if f, ok := d.(*ast.FuncDecl); ok {
		all[receiver(f)+f.Name.Name] = true
		return
	}
	for _, s := range d.(*ast.GenDecl).Specs {
		switch s := s.(type) {
		case *ast.ValueSpec:
			for _, n := range s.Names {
				all[n.Name] = true
			}
		case *ast.TypeSpec:
			all[s.Name.Name] = true
			for _, n := range members(s.Type) {
				all[s.Name.Name+"."+n] = true
			}
		}
	}
}

// receiver returns "Type." for a method, "" for a function.
func receiver(f *ast.FuncDecl) string {
	if f.Recv == nil {
		return ""
	}
	of := f.Recv.List[0].Type
	if star, ok := of.(*ast.StarExpr); ok {
		of = star.X
	}
	if index, ok := of.(*ast.IndexExpr); ok {
		of = index.X
	}
	if name, ok := of.(*ast.Ident); ok {
		return name.Name + "."
	}
	return "?."
}

func members(e ast.Expr) (all []string) {
	var fields *ast.FieldList
	switch e := e.(type) {
	case *ast.StructType:
		fields = e.Fields
	case *ast.InterfaceType:
		fields = e.Methods
	default:
		return nil
	}
	for _, f := range fields.List {
		for _, n := range f.Names {
			all = append(all, n.Name)
		}
	}
	return all
}

// The metrics that documents name are in the table of package status.
func TestMetricsExist(t *testing.T) {
	known := map[string]bool{}
	for _, m := range status.Metrics() {
		known[m.Name] = true
	}
	found := map[string]bool{}
	for name, text := range documents(t) {
		for _, m := range metric.FindAllString(text, -1) {
			found[m] = true
			if !known[m] {
				t.Errorf("%s: %s is no metric", name, m)
			}
		}
	}
	for name := range known {
		if !found[name] {
			t.Errorf("no document says what %s is for", name)
		}
	}
}
