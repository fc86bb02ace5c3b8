package strictjson_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/surecall/surecall/internal/strictjson"
)

type color int

type part struct {
	Name  string
	Count int
	Ratio float64
	Call  func()
	Inner inner
}

type inner struct{ On bool }

type option struct {
	Off   bool
	Value *part
}

type base struct {
	ByURL  *int
	Colors []color
}

type whole struct {
	base0
	base
	Part  option
	Parts map[string]part
	Color color
	on    bool
}

type base0 struct{ MaxHTTPSize int }

var format = strictjson.Format{
	reflect.TypeFor[color](): strictjson.Names([]color{1, 2}, func(c color) string { return [...]string{"", "red", "green"}[c] }),
}

func TestKey(t *testing.T) {
	for name, want := range map[string]string{
		"K": "k", "On": "on", "MaxAttempts": "max_attempts", "CallID": "call_id", "MaxHTTPSize": "max_http_size", "DryRun": "dry_run", "URL": "url", "P99": "p99",
	} {
		if got := strictjson.Key(name); got != want {
			t.Errorf("%s is %s: want %s", name, got, want)
		}
	}
}

func TestFields(t *testing.T) {
	var keys []string
	for _, f := range strictjson.Fields(reflect.TypeFor[whole]()) {
		keys = append(keys, f.Key)
		if got := reflect.TypeFor[whole]().FieldByIndex(f.Index); got.Name != f.Go.Name {
			t.Errorf("%s has the index of %s", f.Go.Name, got.Name)
		}
	}
	if got := fmt.Sprint(keys); got != "[max_http_size by_url colors part parts color]" {
		t.Errorf("keys %s", got)
	}
	if got := len(strictjson.Fields(reflect.TypeFor[part]())); got != 4 {
		t.Errorf("%d keys: want those that are no functions", got)
	}
}

// What is written is read as what it was.
func TestRoundTrip(t *testing.T) {
	for _, w := range []whole{
		{},
		{base0: base0{7}, base: base{Colors: []color{}}, Part: option{Off: true}, Parts: map[string]part{}},
		{base: base{ByURL: new(int), Colors: []color{2, 1}}, Part: option{Value: &part{}}, Color: 1, Parts: map[string]part{
			"": {Name: "a \"b\"\n\u2028<é>", Count: 3, Ratio: 0.125, Inner: inner{On: true}}, "z": {Ratio: 1e9},
		}},
	} {
		text, err := format.Encode(w)
		if err != nil {
			t.Fatal(err)
		}
		if !json.Valid(text) {
			t.Errorf("no JSON: %s", text)
		}
		var got whole
		if _, err := format.Decode(text, &got); err != nil || !reflect.DeepEqual(got, w) {
			t.Errorf("%s is read as %+v, %v", text, got, err)
		}
	}
}

func TestLines(t *testing.T) {
	lines, err := format.Decode([]byte("{\n\n\"part\": {\n\"name\":\n\n\"x\"},\n\"parts\": {\"a.b\":\n{\"count\": 1}}}"), &whole{})
	want := strictjson.Lines{"part": 3, "part.name": 4, "parts": 7, `parts."a.b"`: 7, `parts."a.b".count`: 8}
	if err != nil || !reflect.DeepEqual(lines, want) {
		t.Errorf("lines %v, %v: want %v", lines, err, want)
	}
}

// A mistake in the JSON itself is in its line, whatever stands before it.
func TestSyntaxLines(t *testing.T) {
	const before = "{\n\n\"parts\":\n{\n\"a\" :\n{\n\"count\"\n:\n1\n}\n,\n"
	for _, bad := range []string{`"b": tru`, `"b\x": {}`, `"b": "\x"`, `"b": -x`, `"b" {}`, `"b": }`, `,`, `]`} {
		_, err := format.Decode([]byte(before+bad+"\n\n}}"), &whole{})
		if err == nil || !strings.Contains(err.Error(), "line 12: invalid character") {
			t.Errorf("%s: %v: want it in line 12", bad, err)
		}
	}
}

// Long keys that begin alike are told apart.
func TestLongKeys(t *testing.T) {
	long := strings.Repeat("/é", 100)
	lines, err := format.Decode(fmt.Appendf(nil, "{\"parts\": {\n\"%[1]sA\": {},\n\"%[1]sB\": {}}}", long), &whole{})
	for n, key := range []string{long + "A", long + "B"} {
		at := strictjson.Entry("parts", key)
		if err != nil || lines[at] != n+2 || len(at) > 150 || !utf8.ValidString(at) {
			t.Errorf("%s is in line %d, %v: want %d", at, lines[at], err, n+2)
		}
	}
}

// The bounds are inside.
func TestBounds(t *testing.T) {
	for text, ok := range map[string]bool{
		`{"part": {"count": 1073741824, "ratio": 1073741824}}`: true,
		`{"part": {"count": 1e3}}`:                             true,
		`{"part": {"count": 1073741825}}`:                      false,
		`{"part": {"ratio": 1073741824.5}}`:                    false,
		`{"part": {"ratio": -0.0}}`:                            true,
		`{"part": {"ratio": -1e-300}}`:                         false,
		`{"x": ` + strings.Repeat("[", strictjson.MaxDepth+1) + strings.Repeat("]", strictjson.MaxDepth+1) + `}`: false,
		`{"part": {"name": "` + strings.Repeat("x", strictjson.MaxSize-22) + `"}}`:                               true,
		`{"part": {"name": "` + strings.Repeat("x", strictjson.MaxSize-21) + `"}}`:                               false,
		`{"parts": {"` + strings.Repeat("x", 100_000) + `": {"nam": 1}}}`:                                        false,
		strings.Repeat("[", 100_000):              false,
		`{"a":` + strings.Repeat(`{"a":`, 50_000): false,
	} {
		_, err := format.Decode([]byte(text), &whole{})
		if (err == nil) != ok {
			t.Errorf("%.60s…: error %v: accepted: want %v", text, err, ok)
		}
		if err != nil && len(err.Error()) > 2000 {
			t.Errorf("%.60s…: the error has %d bytes", text, len(err.Error()))
		}
	}
}

// The nearest key is proposed only if it is near.
func TestSuggestions(t *testing.T) {
	for given, want := range map[string]string{
		"coutn": `did you mean "count"?`, "Name": `did you mean "name"?`, "ration": `did you mean "ratio"?`,
		"zzzz": "want one of name, count, ratio, inner", "call": "want one of name", "": "want one of name",
	} {
		_, err := format.Decode(fmt.Appendf(nil, `{"part": {%q: 1}}`, given), &whole{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v: want %s", given, err, want)
		}
	}
}

// Decode and encoding/json agree on what is JSON at all, and reading is bounded.
func FuzzDecode(f *testing.F) {
	for _, text := range []string{
		`{}`, `{"part": false, "parts": {"a": {"inner": {"on": true}}}}`, `{"colors": ["red"], "color": "green", "by_url": 0}`, `{"part": {"name": "\ud800"}}`,
		`{"a": [1, {"b": [2]}]}`, `{"a" 1}`, `{"a": 1,}`, `[1 2]`, `{"a": 01}`, `{"a": tru}`, `{"a": "` + "\x01" + `"}`, "{}\n{}", `{"parts": {"": {}}}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var w whole
		lines, err := format.Decode(text, &w)
		if err == nil && !json.Valid(text) {
			t.Fatalf("%q is no JSON, and accepted", text)
		}
		if len(lines) > len(text) || err != nil && len(err.Error()) > 16<<10 {
			t.Fatalf("%d lines and an error of %d bytes for %d", len(lines), len(fmt.Sprint(err)), len(text))
		}
		if err != nil {
			return
		}
		again, err := format.Encode(w)
		if err != nil {
			t.Fatal(err)
		}
		var same whole
		if _, err := format.Decode(again, &same); err != nil || !reflect.DeepEqual(same, w) {
			t.Fatalf("%q is written as %q and read as %+v, %v", text, again, same, err)
		}
	})
}

var _ = whole{}.on
