package strictjson

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// wants says what a value of t is.
func (d *decoder) wants(t reflect.Type) string {
	if codec, ok := d.format[t]; ok {
		return codec.Want
	}
	switch t.Kind() {
	case reflect.Pointer:
		return d.wants(t.Elem())
	case reflect.Slice:
		return "a list"
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "a string"
	case reflect.Int:
		return fmt.Sprintf("a whole number from 0 to %d", MaxNumber)
	case reflect.Float64:
		return fmt.Sprintf("a number from 0 to %d", MaxNumber)
	default:
		return "an object, {} is the default"
	}
}

// mismatch notes a value that is of another kind than v, and passes over it.
func (d *decoder) mismatch(path string, token json.Token, v reflect.Value) error {
	want := d.wants(v.Type())
	if token == false && v.Kind() == reflect.Struct {
		want += ": it cannot be switched off"
	}
	if err := d.fail(path, "%s: want %s", kind(token), want); err != nil {
		return err
	}
	return d.skip(token)
}

// kind says what a token is.
func kind(token json.Token) string {
	switch t := token.(type) {
	case json.Delim:
		if t == '{' {
			return "an object"
		}
		return "a list"
	case string:
		return shown(t)
	case json.Number:
		return fmt.Sprintf("%.40s", t)
	default:
		return fmt.Sprint(t)
	}
}

// shown quotes text, of a long one its ends: names of methods differ in their last letters.
func shown(text string) string {
	const most = 60
	if len(text) > 2*most {
		text = strings.ToValidUTF8(text[:most], "") + "…" + strings.ToValidUTF8(text[len(text)-most:], "")
	}
	return strconv.Quote(text)
}

// skip passes over the value that token begins.
func (d *decoder) skip(token json.Token) error {
	if _, begins := token.(json.Delim); !begins {
		return nil
	}
	for depth := 1; depth > 0; {
		token, err := d.token()
		if err != nil {
			return err
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth > MaxDepth {
			return fmt.Errorf("line %d: nested deeper than %d", d.here(), MaxDepth)
		}
	}
	return nil
}
