package strictjson

import (
	"cmp"
	"reflect"
	"slices"
	"strings"
	"unicode"
)

// The bounds of what is read.
const (
	MaxSize   = 256 << 10 // bytes
	MaxDepth  = 16
	MaxNumber = 1 << 30
	maxErrors = 10
)

// Format says how types are written that are not as JSON has them. It must not change
// while it is in use.
type Format map[reflect.Type]Codec

// Codec writes values of one type as strings.
type Codec struct {
	Parse  func(text string) (value any, ok bool)
	String func(value any) string
	// Want is what a text must be, for errors and descriptions.
	Want string
	// Names are all texts there are, Pattern is what they look like; one of them is set.
	Names   []string
	Pattern string
}

// Names returns the codec of a type that has few values.
func Names[T any](values []T, name func(T) string) Codec {
	names := make([]string, len(values))
	for n, v := range values {
		names[n] = name(v)
	}
	return Codec{
		Parse: func(text string) (any, bool) {
			n := slices.Index(names, text)
			if n < 0 {
				return nil, false
			}
			return values[n], true
		},
		String: func(v any) string { return name(v.(T)) },
		Want:   "one of " + strings.Join(names, ", "),
		Names:  names,
	}
}

// Field is one key of a struct.
type Field struct {
	Key   string
	Go    reflect.StructField
	Owner reflect.Type // the struct that declares it, which may be embedded
	Index []int        // of the field, from the outermost struct
}

// Fields returns the keys of a struct, in the order of its fields.
func Fields(t reflect.Type) (fields []Field) {
	for n := range t.NumField() {
		f := t.Field(n)
		switch {
		case f.Anonymous:
			for _, inner := range Fields(f.Type) {
				inner.Index = append([]int{n}, inner.Index...)
				fields = append(fields, inner)
			}
		case f.IsExported() && f.Type.Kind() != reflect.Func:
			fields = append(fields, Field{cmp.Or(f.Tag.Get("json"), Key(f.Name)), f, t, []int{n}})
		}
	}
	return fields
}

// Key returns a Go name as it is written in JSON: CallID is call_id.
func Key(name string) string {
	var b strings.Builder
	runes := []rune(name)
	for n, r := range runes {
		begins := n > 0 && unicode.IsUpper(r) &&
			(unicode.IsLower(runes[n-1]) || n+1 < len(runes) && unicode.IsLower(runes[n+1]))
		if begins {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// Switch reports whether values of t can be switched off, and what they are when not.
func Switch(t reflect.Type) (value reflect.Type, ok bool) {
	if t.Kind() != reflect.Struct || t.NumField() != 2 {
		return nil, false
	}
	off, on := t.Field(0), t.Field(1)
	if off.Name != "Off" || off.Type.Kind() != reflect.Bool || on.Name != "Value" || on.Type.Kind() != reflect.Pointer {
		return nil, false
	}
	return on.Type.Elem(), true
}

// nearest returns the one of known that name was likely meant to be, or "".
func nearest(name string, known []string) string {
	best, least := "", max(1, len(name)/3)+1
	for _, k := range known {
		if len(name) > 2*len(k)+2 {
			continue
		}
		if d := distance(strings.ToLower(name), k); d < least {
			best, least = k, d
		}
	}
	return best
}

// distance returns how many letters must be added, left out, changed or swapped with their
// neighbour to make b of a.
func distance(a, b string) int {
	before, last := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		next := make([]int, len(b)+1)
		next[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			next[j+1] = min(last[j+1]+1, next[j]+1, last[j]+cost)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				next[j+1] = min(next[j+1], before[j-1]+1)
			}
		}
		before, last = last, next
	}
	return last[len(b)]
}
