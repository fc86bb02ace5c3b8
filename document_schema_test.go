package surecall_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/internal/strictjson"
)

const (
	schemaFile = "docs/policy.schema.json"
	// writeSchema has it written anew.
	writeSchema = "SURECALL_WRITE_SCHEMA"
)

// The schema that is published is that of the structs, with their own words.
func TestPolicySchema(t *testing.T) {
	text, err := json.MarshalIndent(newSchema(t), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	text = append(text, '\n')
	if os.Getenv(writeSchema) == "1" {
		if err := os.WriteFile(schemaFile, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	published, err := os.ReadFile(schemaFile)
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("docs is not part of the module")
	}
	if err != nil || !bytes.Equal(published, text) {
		t.Errorf("%s is not what the structs say, %v: write it with %s=1 go test -run TestPolicySchema .", schemaFile, err, writeSchema)
	}
}

// The schema and ParsePolicy agree, as far as a schema can tell.
func TestPolicySchemaAgrees(t *testing.T) {
	text, err := json.Marshal(newSchema(t))
	if err != nil {
		t.Fatal(err)
	}
	var schema map[string]any
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	v := validator{schema}
	good := []string{"{}", wholeDocument, sameDocument().String(), `{"methods": {"*": {"retry": false}, "/a*": {}, "/a.B/*": {}, "/a.B/C*": {"rate": {"per_second": 1e3}}}}`,
		`{"deadline": "1h0.5s", "hedge": {"delay": "0"}, "replay_buffer": false, "cache_bytes": 1.0}`}
	for _, key := range strictjson.Fields(reflect.TypeFor[surecall.PolicyDocument]()) {
		if _, ok := strictjson.Switch(key.Go.Type); ok {
			good = append(good, fmt.Sprintf(`{%q: false}`, key.Key))
		}
	}
	for _, text := range good {
		if _, err := surecall.ParsePolicy([]byte(text)); err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if err := v.text(text); err != nil {
			t.Errorf("%s: the schema refuses what ParsePolicy accepts: %v", text, err)
		}
	}
	for name, test := range refusedDocuments() {
		if test.beyond || !json.Valid([]byte(test.text)) {
			continue
		}
		if v.text(test.text) == nil {
			t.Errorf("%s: %.200s: the schema accepts what ParsePolicy refuses", name, test.text)
		}
	}
}

// newSchema makes the schema of policy documents from their structs and the comments on those.
func newSchema(t *testing.T) map[string]any {
	g := &generator{format: surecall.DocumentFormat(), comments: comments(t), defs: map[string]any{}}
	root := g.object(reflect.TypeFor[surecall.PolicyDocument]())
	properties := root["properties"].(map[string]any)
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "Policy document of surecall"
	root["description"] = g.comments["surecall.PolicyDocument"]
	root["$defs"] = g.defs
	properties["version"].(map[string]any)["maximum"] = 1
	methods := properties["methods"].(map[string]any)
	methods["maxProperties"] = 1000
	methods["propertyNames"] = map[string]any{"pattern": `^(\*|/[^/*]*/[^/*]+|/[^/*]*(/[^/*]*)?\*)$`}
	return root
}

type generator struct {
	format   strictjson.Format
	comments map[string]string // by "package.Type" and "package.Type.Field"
	defs     map[string]any
}

func (g *generator) schema(t reflect.Type) map[string]any {
	if codec, ok := g.format[t]; ok {
		if codec.Names != nil {
			return map[string]any{"enum": codec.Names}
		}
		return map[string]any{"type": "string", "pattern": codec.Pattern}
	}
	if on, ok := strictjson.Switch(t); ok {
		return map[string]any{"anyOf": []any{map[string]any{"const": false}, g.schema(on)}}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return g.schema(t.Elem())
	case reflect.Struct:
		name := typeName(t)
		if _, ok := g.defs[name]; !ok {
			g.defs[name] = nil // it may hold itself
			g.defs[name] = g.object(t)
		}
		return map[string]any{"$ref": "#/$defs/" + name}
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": g.schema(t.Elem())}
	case reflect.Slice:
		return map[string]any{"type": "array", "items": g.schema(t.Elem())}
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.String:
		return map[string]any{"type": "string"}
	case reflect.Int:
		return map[string]any{"type": "integer", "minimum": 0, "maximum": strictjson.MaxNumber}
	default:
		return map[string]any{"type": "number", "minimum": 0, "maximum": strictjson.MaxNumber}
	}
}

func (g *generator) object(t reflect.Type) map[string]any {
	properties := map[string]any{}
	for _, f := range strictjson.Fields(t) {
		s := g.schema(f.Go.Type)
		if words := g.comments[typeName(f.Owner)+"."+f.Go.Name]; words != "" {
			s["description"] = inKeys(words, t)
		}
		properties[f.Key] = s
	}
	return map[string]any{"type": "object", "additionalProperties": false, "properties": properties}
}

// inKeys returns words with the fields of t called by their keys.
func inKeys(words string, t reflect.Type) string {
	for _, f := range strictjson.Fields(t) {
		words = regexp.MustCompile(`\b`+f.Go.Name+`\b`).ReplaceAllLiteralString(words, f.Key)
	}
	return words
}

func typeName(t reflect.Type) string { return path.Base(t.PkgPath()) + "." + t.Name() }

// comments returns what is written on types and fields of the packages that have policies.
func comments(t *testing.T) map[string]string {
	words := map[string]string{}
	for dir, name := range map[string]string{".": "surecall", "balancer": "balancer", "breaker": "breaker", "limit": "limit", "retry": "retry"} {
		files, err := fs.Glob(os.DirFS(dir), "*.go")
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			parsed, err := parser.ParseFile(gotoken.NewFileSet(), path.Join(dir, file), nil, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range parsed.Decls {
				for _, spec := range types(d) {
					describe(words, name+"."+spec.Name.Name, d.(*ast.GenDecl).Doc, spec)
				}
			}
		}
	}
	return words
}

func types(d ast.Decl) (specs []*ast.TypeSpec) {
	if g, ok := d.(*ast.GenDecl); ok && g.Tok == gotoken.TYPE {
		for _, s := range g.Specs {
			specs = append(specs, s.(*ast.TypeSpec))
		}
	}
	return specs
}

func describe(words map[string]string, name string, doc *ast.CommentGroup, spec *ast.TypeSpec) {
	s, ok := spec.Type.(*ast.StructType)
	if !ok {
		return
	}
	words[name] = oneLine(doc)
	for _, f := range s.Fields.List {
		for _, n := range f.Names {
			if words[name+"."+n.Name] = oneLine(f.Doc); f.Doc == nil {
				words[name+"."+n.Name] = oneLine(f.Comment)
			}
		}
	}
}

// oneLine returns the first paragraph of a comment.
func oneLine(c *ast.CommentGroup) string {
	first, _, _ := strings.Cut(c.Text(), "\n\n")
	return strings.NewReplacer("[", "", "]", "").Replace(strings.Join(strings.Fields(first), " "))
}

// validator checks a value against a schema, as far as ours goes.
type validator struct{ root map[string]any }

func (v validator) text(text string) error {
	var value any
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		return err
	}
	return v.value("", v.root, value)
}

func (v validator) value(at string, s map[string]any, value any) error {
	for _, word := range slices.Sorted(maps.Keys(s)) {
		if err := v.check(at, s, word, s[word], value); err != nil {
			return err
		}
	}
	return nil
}

func (v validator) check(at string, s map[string]any, word string, want, value any) error {
	wrong := func() error { return fmt.Errorf("%s: %v: want %s %v", at, value, word, want) }
	number, _ := value.(float64)
	object, _ := value.(map[string]any)
	ok := true
	switch word {
	case "type":
		ok = isOf(want.(string), value)
	case "const":
		ok = value == want
	case "enum":
		ok = slices.Contains(want.([]any), value)
	case "pattern":
		text, is := value.(string)
		ok = !is || regexp.MustCompile(want.(string)).MatchString(text)
	case "minimum":
		ok = number >= want.(float64)
	case "maximum":
		ok = number <= want.(float64)
	case "maxProperties":
		ok = float64(len(object)) <= want.(float64)
	case "$ref":
		return v.value(at, v.root["$defs"].(map[string]any)[path.Base(want.(string))].(map[string]any), value)
	case "anyOf":
		ok = slices.ContainsFunc(want.([]any), func(s any) bool { return v.value(at, s.(map[string]any), value) == nil })
	case "items":
		for n, item := range asList(value) {
			if err := v.value(fmt.Sprintf("%s[%d]", at, n), want.(map[string]any), item); err != nil {
				return err
			}
		}
	case "propertyNames":
		for key := range object {
			if err := v.value(at, want.(map[string]any), key); err != nil {
				return err
			}
		}
	case "properties":
		for key, s := range want.(map[string]any) {
			if item, has := object[key]; has {
				if err := v.value(at+"."+key, s.(map[string]any), item); err != nil {
					return err
				}
			}
		}
	case "additionalProperties":
		known, _ := s["properties"].(map[string]any)
		for key, item := range object {
			if _, is := known[key]; is {
				continue
			}
			s, is := want.(map[string]any)
			if !is {
				return fmt.Errorf("%s: %q is not known", at, key)
			}
			if err := v.value(at+"."+key, s, item); err != nil {
				return err
			}
		}
	case "description", "title", "$schema", "$defs":
	default:
		return fmt.Errorf("%s: the test does not know %q", at, word)
	}
	if !ok {
		return wrong()
	}
	return nil
}

func asList(value any) []any {
	list, _ := value.([]any)
	return list
}

func isOf(kind string, value any) bool {
	switch kind {
	case "object":
		_, ok := value.(map[string]any)
		return ok
	case "array":
		_, ok := value.([]any)
		return ok
	case "string":
		_, ok := value.(string)
		return ok
	case "boolean":
		_, ok := value.(bool)
		return ok
	case "number":
		_, ok := value.(float64)
		return ok
	case "integer":
		n, ok := value.(float64)
		return ok && n == float64(int64(n))
	}
	return false
}
