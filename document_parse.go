package surecall

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/surecall/surecall/balancer"
	"github.com/surecall/surecall/internal/strictjson"
)

const (
	documentVersion     = 1
	maxDocumentPatterns = 1000
	maxDocumentErrors   = 10
	maxDocumentDuration = 720 * time.Hour
)

// ParsePolicy reads a policy document. Everything that is wrong with it is reported in one
// joined error, each mistake with the path of its value and its line:
//
//	methods."/orders.v1.Orders/Get".hedge: line 12: retry: Hedge.Delay 2h0m0s: want 0s to 1h0m0s
//
// Whether its policies contradict each other shows only where it is applied, since that
// depends on what code says.
func ParsePolicy(text []byte) (PolicyDocument, error) {
	var d PolicyDocument
	lines, err := documentFormat().Decode(text, &d)
	if err == nil {
		err = d.check(lines)
	}
	if err != nil {
		return PolicyDocument{}, fmt.Errorf("surecall: policy document: %w", err)
	}
	return d, nil
}

// MarshalJSON writes d as [ParsePolicy] reads it.
func (d PolicyDocument) MarshalJSON() ([]byte, error) { return documentFormat().Encode(d) }

// UnmarshalJSON is [ParsePolicy].
func (d *PolicyDocument) UnmarshalJSON(text []byte) error {
	read, err := ParsePolicy(text)
	if err == nil {
		*d = read
	}
	return err
}

// MarshalJSON writes m as an entry of a document's "methods", which is also what
// [WithPolicyHeader] takes.
func (m MethodPolicies) MarshalJSON() ([]byte, error) { return documentFormat().Encode(m) }

// String returns d as indented JSON.
func (d PolicyDocument) String() string {
	text, err := d.MarshalJSON()
	if err != nil {
		return err.Error()
	}
	var b bytes.Buffer
	_ = json.Indent(&b, text, "", "  ") // what was just written is valid
	return b.String()
}

// check reports what options would refuse of d.
func (d *PolicyDocument) check(lines strictjson.Lines) error {
	var errs []error
	fail := func(path string, err error) {
		switch {
		case err == nil || len(errs) > maxDocumentErrors:
		case len(errs) == maxDocumentErrors:
			errs = append(errs, errors.New("and more"))
		default:
			errs = append(errs, fmt.Errorf("%s: line %d: %w", path, lines[path], err))
		}
	}
	if v := cmp.Or(d.Version, documentVersion); v != documentVersion {
		fail("version", fmt.Errorf("%d: want %d", v, documentVersion))
	}
	for _, s := range d.says() {
		var trial settings
		s.option.client(&trial)
		fail(s.key, errors.Join(trial.errs...))
	}
	methods := func(path string, m *MethodPolicies) {
		for _, s := range m.says() {
			var trial methodSettings
			s.option.method(&trial)
			fail(strictjson.Under(path, s.key), trial.takeErr())
		}
	}
	methods("", &d.MethodPolicies)
	if n := len(d.Methods); n > maxDocumentPatterns {
		fail("methods", fmt.Errorf("%d patterns: want at most %d", n, maxDocumentPatterns))
		return errors.Join(errs...)
	}
	for _, pattern := range slices.Sorted(maps.Keys(d.Methods)) {
		m, path := d.Methods[pattern], strictjson.Entry("methods", pattern)
		fail(path, checkPattern(pattern))
		methods(path, &m)
	}
	return errors.Join(errs...)
}

// documentFormat says how the types of policies are written.
func documentFormat() strictjson.Format {
	failures := make([]codes.Code, 0, codes.Unauthenticated)
	for c := codes.Canceled; c <= codes.Unauthenticated; c++ {
		failures = append(failures, c)
	}
	return strictjson.Format{
		reflect.TypeFor[time.Duration](): {
			Parse: parseDuration, String: func(v any) string { return v.(time.Duration).String() },
			Want: fmt.Sprintf(`a duration from "0s" to %q, such as "250ms"`, maxDocumentDuration), Pattern: durationPattern,
		},
		reflect.TypeFor[Protection](): strictjson.Names(append(Protections(), ProtectionAll), func(p Protection) string { return string(p) }),
		reflect.TypeFor[codes.Code](): strictjson.Names(failures, codeName),
		reflect.TypeFor[balancer.Choice](): strictjson.Names(
			[]balancer.Choice{balancer.LeastLoaded, balancer.RoundRobin},
			func(c balancer.Choice) string { return strings.ReplaceAll(c.String(), " ", "_") }),
	}
}

const durationPattern = `^(0|(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h))+)$`

func parseDuration(text string) (any, bool) {
	d, err := time.ParseDuration(text)
	return d, err == nil && d >= 0 && d <= maxDocumentDuration && text[0] != '-' && text[0] != '+'
}
