package replay

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

// Methods says which methods are recorded or replayed.
type Methods struct {
	Only        []string // patterns; empty: all
	SideEffects []string // patterns of those that may although they have, or may have, side effects
}

// Validate reports every pattern that is none.
func (m Methods) Validate() []error {
	var errs []error
	for _, list := range []struct {
		field    string
		patterns []string
	}{{"Methods", m.Only}, {"SideEffects", m.SideEffects}} {
		for _, p := range list.patterns {
			if !isPattern(p) {
				errs = append(errs, fmt.Errorf("%s %q: want /package.Service/Method, or the beginning of one and a star at the end", list.field, p))
			}
		}
	}
	return errs
}

// Use is what is to be done with a method.
type Use uint8

// The answers.
const (
	Take        Use = iota // record it, replay it
	NotAsked               // no pattern names it
	SideEffects            // it has side effects, or nobody knows
	Streaming              // it is no unary method
)

// Of returns what is to be done with a method. It searches the linked descriptors:
// keep the answer.
//
// Only NO_SIDE_EFFECTS will do. A method that is merely IDEMPOTENT may be retried, but
// to cancel today what was cancelled yesterday is not a warm-up.
func (m Methods) Of(method string) Use {
	if len(m.Only) > 0 && !matchesAny(m.Only, method) {
		return NotAsked
	}
	d := descriptor(method)
	if d != nil && (d.IsStreamingClient() || d.IsStreamingServer()) {
		return Streaming
	}
	if matchesAny(m.SideEffects, method) {
		return Take
	}
	if d != nil {
		options, ok := d.Options().(*descriptorpb.MethodOptions)
		if ok && options.GetIdempotencyLevel() == descriptorpb.MethodOptions_NO_SIDE_EFFECTS {
			return Take
		}
	}
	return SideEffects
}

// descriptor returns a method's linked descriptor, or nil.
func descriptor(method string) protoreflect.MethodDescriptor {
	name := strings.ReplaceAll(strings.TrimPrefix(method, "/"), "/", ".")
	found, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(name))
	if err != nil {
		return nil
	}
	d, _ := found.(protoreflect.MethodDescriptor)
	return d
}

func isPattern(p string) bool {
	beginning, star := strings.CutSuffix(p, "*")
	if p == "*" {
		return true
	}
	slashes := strings.Count(p, "/")
	return strings.HasPrefix(p, "/") && !strings.Contains(beginning, "*") && !strings.HasSuffix(p, "/") &&
		(slashes == 2 || star && slashes == 1)
}

func matchesAny(patterns []string, method string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		beginning, star := strings.CutSuffix(p, "*")
		return p == method || star && strings.HasPrefix(method, beginning)
	})
}
