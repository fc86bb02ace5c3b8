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
		case "deadline": // the client's is none of streams: those of patterns stay
			s.overrule("*", []string{about}, streamDeadline)
		default:
			s.overrule("*", []string{about}, nil)
		}
		o.client(s)
	})
}

// overruling returns opts for the methods of a pattern, those included of which something
// more specific was said before.
func overruling(pattern string, opts []MethodOption) LiveOption {
	about := make([]string, len(opts))
	for n, o := range opts {
		about[n] = o.aspect()
	}
	return live(func(s *settings) {
		s.overrule(pattern, about, nil)
		s.rule(pattern, opts...)
	})
}

// overrule takes away what was said about some things of the methods that pattern names, as
// far as that named no other. rest makes an option of what is left of each; nil: nothing is.
func (s *settings) overrule(pattern string, about []string, rest func(MethodOption) MethodOption) {
	overruled := func(o MethodOption) bool { return slices.Contains(about, o.aspect()) }
	for n, r := range s.rules {
		if !covers(pattern, r.pattern) || !slices.ContainsFunc(r.opts, overruled) {
			continue
		}
		var left []MethodOption // an earlier s has r.opts too
		for _, o := range r.opts {
			switch {
			case !overruled(o):
				left = append(left, o)
			case rest != nil:
				left = append(left, rest(o))
			}
		}
		s.rules[n].opts = left
	}
}

// streamDeadline returns what a pattern's option about deadlines says of streams.
func streamDeadline(o MethodOption) MethodOption {
	var says methodSettings
	o.method(&says)
	return perCall(o.aspect(), func(m *methodSettings) { m.streams = says.streams })
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
