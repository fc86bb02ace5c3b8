package surecall_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/balancer"
	"github.com/surecall/surecall/breaker"
	"github.com/surecall/surecall/internal/strictjson"
	"github.com/surecall/surecall/limit"
	"github.com/surecall/surecall/retry"
)

// wholeDocument says something of each key.
const wholeDocument = `{
  "$schema": "https://example.com/policy.schema.json",
  "version": 1,
  "comment": "the owner's word",
  "disable": ["slow-start", "yield"],
  "shadow": false,
  "breaker": {"consecutive_failures": 3, "failure_ratio": 0.25, "window": "20s", "dry_run": true},
  "service_breaker": {"quiet": "2s", "min_failures": 7},
  "balancer": {"choice": "round_robin", "slow_start": "1m30s", "slow_start_from": 0.5},
  "retry_budget": {"ratio": 0.1, "per_second": 2.5},
  "instance_concurrency": {"adaptive": {"on": true, "max": 50}},
  "instance_stream_concurrency": {"limit": 20},
  "stream_concurrency": {"limit": 200},
  "notifications": {"max_pending": 10},
  "cache_bytes": 1048576,
  "deadline": "3s",
  "attempt_timeout": {"fixed": "200ms"},
  "retry": {"max_attempts": 4, "codes": ["UNAVAILABLE", "CANCELLED", "DEADLINE_EXCEEDED"]},
  "hedge": {"delay": "50ms"},
  "idempotent": true,
  "call_id": true,
  "concurrency": {"limit": 100, "queue": {"max_waiting": 10, "interval": "50ms"}},
  "rate": {"per_second": 500.5, "wait": true, "max_wait": "250ms"},
  "throttle": {"k": 1.5},
  "replay_buffer": 4096,
  "cache": {"fresh": "1s", "vary": ["tenant"], "ignore": []},
  "fallback_reserve": "20ms",
  "methods": {
    "/orders.v1.Orders/Get": {
      "retry": {"codes": []},
      "idempotent": false,
      "hedge": false,
      "call_id": false
    },
    "/orders.v1.Orders/*": {"method_breaker": {"trials": 2}, "throttle": false, "deadline": false, "cache": {}}
  }
}`

func value[T any](v T) *T { return &v }

// sameDocument is what wholeDocument says, in Go.
func sameDocument() surecall.PolicyDocument {
	return surecall.PolicyDocument{
		Schema: "https://example.com/policy.schema.json", Version: 1, Comment: "the owner's word", Disable: []surecall.Protection{surecall.ProtectionSlowStart, surecall.ProtectionYield},
		Shadow:                    value(false),
		Breaker:                   surecall.Set(breaker.Policy{ConsecutiveFailures: 3, FailureRatio: 0.25, Window: 20 * time.Second, DryRun: true}),
		ServiceBreaker:            surecall.Set(breaker.ServicePolicy{Quiet: 2 * time.Second, MinFailures: 7}),
		Balancer:                  &balancer.Policy{Choice: balancer.RoundRobin, SlowStart: 90 * time.Second, SlowStartFrom: 0.5},
		RetryBudget:               &retry.BudgetPolicy{Ratio: 0.1, PerSecond: 2.5},
		InstanceConcurrency:       surecall.Set(limit.Concurrency{Adaptive: limit.Adaptive{On: true, Max: 50}}),
		InstanceStreamConcurrency: surecall.Set(limit.Concurrency{Limit: 20}),
		StreamConcurrency:         surecall.Set(limit.Concurrency{Limit: 200}),
		Notifications:             &surecall.NotifyPolicy{MaxPending: 10},
		CacheBytes:                value(1 << 20),
		MethodPolicies: surecall.MethodPolicies{
			Deadline:        surecall.Set(3 * time.Second),
			AttemptTimeout:  surecall.Set(surecall.AttemptTimeout{Fixed: 200 * time.Millisecond}),
			Retry:           surecall.Set(retry.Policy{MaxAttempts: 4, Codes: []codes.Code{codes.Unavailable, codes.Canceled, codes.DeadlineExceeded}}),
			Hedge:           surecall.Set(retry.Hedge{Delay: 50 * time.Millisecond}),
			Idempotent:      value(true),
			CallID:          value(true),
			Concurrency:     surecall.Set(limit.Concurrency{Limit: 100, Queue: limit.Queue{MaxWaiting: 10, Interval: 50 * time.Millisecond}}),
			Rate:            surecall.Set(limit.Rate{PerSecond: 500.5, Wait: true, MaxWait: 250 * time.Millisecond}),
			Throttle:        surecall.Set(limit.Throttle{K: 1.5}),
			ReplayBuffer:    surecall.Set(4096),
			Cache:           surecall.Set(surecall.CachePolicy{Fresh: time.Second, Vary: []string{"tenant"}, Ignore: []string{}}),
			FallbackReserve: value(20 * time.Millisecond),
		},
		Methods: map[string]surecall.MethodPolicies{
			"/orders.v1.Orders/Get": {
				Retry: surecall.Set(retry.Policy{Codes: []codes.Code{}}), Idempotent: value(false),
				Hedge: surecall.Off[retry.Hedge](), CallID: value(false),
			},
			"/orders.v1.Orders/*": {
				MethodBreaker: surecall.Set(breaker.MethodPolicy{Trials: 2}), Throttle: surecall.Off[limit.Throttle](),
				Deadline: surecall.Off[time.Duration](), Cache: surecall.Set(surecall.CachePolicy{}),
			},
		},
	}
}

// A document means what its struct does, and is written as it is read.
func TestPolicyDocument(t *testing.T) {
	want := sameDocument()
	got, err := surecall.ParsePolicy([]byte(wholeDocument))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("read:\n%v\nwant:\n%v", got, want)
	}
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var again surecall.PolicyDocument
	if err := json.Unmarshal(text, &again); err != nil || !reflect.DeepEqual(again, want) {
		t.Errorf("written as\n%s\nand read as\n%v, %v", text, again, err)
	}
	if again, err := surecall.ParsePolicy([]byte(want.String())); err != nil || !reflect.DeepEqual(again, want) {
		t.Errorf("its String\n%s\nis read as\n%v, %v", want, again, err)
	}
	if empty, err := surecall.ParsePolicy([]byte(" {}\n")); err != nil || !reflect.DeepEqual(empty, surecall.PolicyDocument{}) || len(empty.Options()) != 0 || len(empty.Sets()) != 0 {
		t.Errorf("{} is read as %v, %v: want nothing said", empty, err)
	}
}

// Each key of a document is an option, and tells of itself.
func TestPolicyDocumentKeys(t *testing.T) {
	whole, err := surecall.ParsePolicy([]byte(wholeDocument))
	if err != nil {
		t.Fatal(err)
	}
	// method_breaker excludes throttle, and so stands below a pattern.
	told := strings.ReplaceAll(strings.Join(whole.Sets(), "\n"), `methods."/orders.v1.Orders/*".method_breaker`, "method_breaker")
	for _, f := range strictjson.Fields(reflect.TypeFor[surecall.PolicyDocument]()) {
		switch f.Key {
		case "$schema", "version", "comment", "methods":
			continue
		}
		if !strings.Contains("\n"+told+"\n", "\n"+f.Key+"\n") {
			t.Errorf("%s: not an option of its own: says() must know it, and wholeDocument have it", f.Key)
		}
	}
}

// refused is a document that is wrong, and what its error says.
type refused struct {
	text   string
	want   []string
	beyond bool // what a schema can tell
}

func refusedDocuments() map[string]refused {
	deep := strings.Repeat(`{"a":`, 20) + "1" + strings.Repeat("}", 20)
	many := make([]string, 1001)
	for n := range many {
		many[n] = fmt.Sprintf(`"/a.B/C%d": {}`, n)
	}
	return map[string]refused{
		"nothing":           {"", []string{"empty: want a JSON object"}, false},
		"blank":             {" \n\t ", []string{"empty"}, false},
		"cut off":           {`{"deadline": "1s"`, []string{"line 1", "cut off"}, false},
		"half a string":     {"{\n\"deadline\": \"1", []string{"line 2", "cut off"}, false},
		"syntax":            {"{\n\"deadline\": \"1s\",\n}", []string{"line 3", "invalid character"}, false},
		"two values":        {"{} {}", []string{"follows the end"}, false},
		"a list":            {`[{}]`, []string{"a list: want an object"}, false},
		"a number":          {`1`, []string{"1: want an object"}, false},
		"null":              {`null`, []string{"null"}, false},
		"too large":         {`{"comment": "` + strings.Repeat("x", 256<<10) + `"}`, []string{"bytes: want at most 262144"}, true},
		"deep":              {`{"a": ` + deep + `}`, []string{`"a"`, "unknown key", "nested deeper than 16"}, false},
		"not UTF-8":         {"{\n\"comment\": \"\xff\"}", []string{"line 2: not UTF-8"}, true},
		"byte order mark":   {"\ufeff{}", []string{"line 1", "invalid character"}, false},
		"unknown":           {"{\n\"methods\": {\n\"/a.B/C\": {\"hegde\": {}}}}", []string{`methods."/a.B/C"."hegde": line 3: unknown key: did you mean "hedge"?`, "fallback_reserve"}, false},
		"unknown, far":      {`{"zzzzzzzzz": 1}`, []string{`"zzzzzzzzz"`, "want one of $schema, version, comment"}, false},
		"unknown in policy": {`{"hedge": {"Delay": "1s"}}`, []string{`hedge."Delay": line 1: unknown key: did you mean "delay"?`}, false},
		"twice":             {"{\"deadline\": \"1s\",\n\"deadline\": \"2s\"}", []string{"deadline: line 2: given twice"}, true},
		"method twice":      {`{"methods": {"/a.B/C": {}, "/a.B/C": {}}}`, []string{`methods."/a.B/C": line 1: given twice`}, true},
		"null key":          {`{"hedge": null}`, []string{"hedge: line 1: null: leave the key out"}, false},
		"true":              {`{"hedge": true}`, []string{"hedge: line 1: true: want an object, {} is the default, or false"}, false},
		"false":             {`{"balancer": false}`, []string{"balancer: line 1: false: want an object", "cannot be switched off"}, false},
		"duration":          {`{"deadline": "5 seconds"}`, []string{`deadline: line 1: "5 seconds": want a duration`, `"250ms"`}, false},
		"bare duration":     {`{"deadline": 5}`, []string{"deadline: line 1: 5: want a duration"}, false},
		"negative duration": {`{"hedge": {"delay": "-1s"}}`, []string{`hedge.delay: line 1: "-1s": want a duration from "0s"`}, false},
		"long duration":     {`{"deadline": "721h"}`, []string{`"720h0m0s"`}, true},
		"code":              {`{"retry": {"codes": ["UNAVAILABLE", "Unavailable"]}}`, []string{`retry.codes[1]: line 1: "Unavailable": want one of CANCELLED, UNKNOWN`}, false},
		"OK":                {`{"retry": {"codes": ["OK"]}}`, []string{`"OK": want one of`}, false},
		"choice":            {`{"balancer": {"choice": "random"}}`, []string{"least_loaded, round_robin"}, false},
		"protection":        {`{"disable": ["breakers"]}`, []string{`disable[0]: line 1: "breakers": want one of breaker, service-breaker`}, false},
		"huge":              {`{"retry": {"max_attempts": 1e400}}`, []string{"retry.max_attempts: line 1: 1e400: want a whole number from 0 to 1073741824"}, false},
		"huge digits":       {`{"cache_bytes": ` + strings.Repeat("9", 1000) + `}`, []string{"cache_bytes: line 1: 9999", "want a whole number"}, false},
		"negative":          {`{"rate": {"per_second": -0.5}}`, []string{"rate.per_second: line 1: -0.5: want a number from 0"}, false},
		"fraction":          {`{"cache_bytes": 1.5}`, []string{"1.5: want a whole number"}, false},
		"text for number":   {`{"cache_bytes": "1"}`, []string{`"1": want a whole number`}, false},
		"text for bool":     {`{"idempotent": "yes"}`, []string{`idempotent: line 1: "yes": want true or false`}, false},
		"list for text":     {`{"comment": []}`, []string{"comment: line 1: a list: want a string"}, false},
		"text for list":     {`{"cache": {"vary": "tenant"}}`, []string{`cache.vary: line 1: "tenant": want a list`}, false},
		"version":           {"{\n\"version\": 2}", []string{"version: line 2: 2: want 1"}, false},
		"validated":         {"{\n\n\"retry\": {\"max_attempts\": 11}}", []string{"retry: line 3: retry: MaxAttempts 11: want 1 to 10"}, true},
		"validated, method": {"{\"methods\": {\n\"/a.B/C\": {\"deadline\": \"0s\"}}}", []string{`methods."/a.B/C".deadline: line 2: surecall: WithCallDeadline 0s`}, true},
		"queue":             {`{"instance_concurrency": {"queue": {"max_waiting": 1}}}`, []string{"instance_concurrency: line 1", "want none"}, true},
		"pattern":           {"{\"methods\": {\n\"a.B/C\": {}}}", []string{`methods."a.B/C": line 2: surecall: method pattern "a.B/C"`}, false},
		"percent":           {`{"methods": {"/a.%d/%s": {"x%y": 1}}}`, []string{`methods."/a.%d/%s"."x%y"`}, false},
		"long pattern":      {`{"methods": {"` + strings.Repeat("a", 100_000) + `": {}}}`, []string{"line 1: surecall: method pattern \"aaa", "want \"/package"}, false},
		"patterns":          {`{"methods": {` + strings.Join(many, ",") + `}}`, []string{"methods: line 1: 1001 patterns: want at most 1000"}, false},
		"all at once":       {"{\"deadline\": 1,\n\"hedge\": 2,\n\"x\": 3}", []string{"deadline: line 1", "hedge: line 2", `"x": line 3`}, false},
		"too many":          {`{"retry": {"codes": [` + strings.Repeat("1,", 100) + `1]}}`, []string{"codes[9]", "and more"}, false},
	}
}

// Everything wrong is refused, with the path of the value, its line and what is wanted.
func TestParsePolicyRefuses(t *testing.T) {
	for name, test := range refusedDocuments() {
		t.Run(name, func(t *testing.T) {
			d, err := surecall.ParsePolicy([]byte(test.text))
			if err == nil {
				t.Fatalf("no error, but %v", d)
			}
			for _, want := range append(test.want, "surecall: policy document: ") {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q: want %q in it", err, want)
				}
			}
			if len(err.Error()) > 16<<10 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
			if !reflect.DeepEqual(d, surecall.PolicyDocument{}) {
				t.Errorf("refused, but %v", d)
			}
		})
	}
}

// Whatever is read is bounded, and what is accepted can be written, read again, and applied
// or refused as a whole.
func FuzzParsePolicy(f *testing.F) {
	for _, text := range []string{
		wholeDocument, "{}", `{"methods":{"*":{"retry":false}}}`, `{"hedge":{},"hedge":{}}`, `{"a":[[[[[[]]]]]]}`, `{"deadline":"1h","x":1e999}`,
		`{"throttle":{},"method_breaker":{}}`, "\xff", `{"comment":"\ud800"}`, `{"disable":["all"]}`, `{"replay_buffer":false}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		d, err := surecall.ParsePolicy(text)
		if err != nil {
			if len(err.Error()) > 64<<10 {
				t.Fatalf("the error has %d bytes", len(err.Error()))
			}
			return
		}
		written, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		again, err := surecall.ParsePolicy(written)
		if err != nil || !reflect.DeepEqual(again, d) {
			t.Fatalf("%s is written as %s and read as %v, %v", text, written, again, err)
		}
		if err := surecall.Agrees(d); err != nil && len(err.Error()) > 1<<20 {
			t.Fatalf("to apply it is an error of %d bytes", len(err.Error()))
		}
	})
}

// What a running client can be told by an option, a document can say, or there is a reason.
func TestPolicyDocumentIsComplete(t *testing.T) {
	inCode := map[string]string{
		"WithEvents": "a function", "WithObserver": "a function", "WithClassifier": "a function", "WithFallback": "a function", "WithFallbackWhen": "a function",
		"WithAlternate": "another client", "WithoutAlternate": "disable: alternate", "WithoutFallback": "disable: fallback",
		"WithIdempotent": "idempotent below a pattern", "WithNotIdempotent": "idempotent below a pattern", "ForMethod": "methods", "WithDisabled": "disable",
	}
	said, err := os.ReadFile("document_options.go")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	options := regexp.MustCompile(`(?m)^func ([A-Z]\w*)(?:\[.*\])?\(.*\) (?:Live|Method|Call)Option \{`)
	found := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range options.FindAllSubmatch(text, -1) {
			found++
			name := string(m[1])
			if _, ok := inCode[name]; !ok && !regexp.MustCompile(`\b`+name+`\b`).Match(said) {
				t.Errorf("%s: %s has no key in a document", file, name)
			}
		}
	}
	if found < 40 {
		t.Errorf("found %d options only", found)
	}
}
