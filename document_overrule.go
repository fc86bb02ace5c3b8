package surecall

import (
	"cmp"
	"slices"
	"strings"
)

// everywhere returns o for all methods, those included of which something else was said
// before.
func everywhere(o MethodOption) LiveOption {
	return live(func(s *settings) {
		switch about := o.aspect(); about {
		case "concurrency", "rate": // those of patterns hold beside the client's
		default:
			s.overrule("*", about)
		}
		o.client(s)
	})
}

// overruling returns opts for the methods of a pattern, those included of which something
// more specific was said before.
func overruling(pattern string, opts []MethodOption) LiveOption {
	return live(func(s *settings) {
		for _, o := range opts {
			s.overrule(pattern, o.aspect())
		}
		s.rule(pattern, opts...)
	})
}

// overrule takes away what was said about one thing of the methods that pattern names, as
// far as that named no other.
func (s *settings) overrule(pattern, about string) {
	rules := s.rules[:0:0]
	for _, r := range s.rules {
		if covers(pattern, r.pattern) {
			r.opts = slices.DeleteFunc(slices.Clone(r.opts), func(o MethodOption) bool { return o.aspect() == about })
		}
		rules = append(rules, r)
	}
	s.rules = rules
}

// covers reports whether all methods that narrow names are named by pattern.
func covers(pattern, narrow string) bool {
	beginning, star := strings.CutSuffix(narrow, "*")
	if star && !strings.HasSuffix(pattern, "*") {
		return false
	}
	return matches(pattern, beginning)
}

// byLength orders patterns: the longest last.
func byLength(a, b string) int {
	return cmp.Or(rule{pattern: a}.length()-rule{pattern: b}.length(), strings.Compare(a, b))
}
