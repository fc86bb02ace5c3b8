package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Lines says in which line of a text a value stands, by its path. Only keys of objects
// are in it.
type Lines map[string]int

// Under returns the path of a key within that of an object.
func Under(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// Entry returns the path of an entry of a map.
func Entry(path, key string) string { return Under(path, shown(key)) }

// Decode reads text into the struct that into points to. If it returns an error, the
// struct is of no use.
func (f Format) Decode(text []byte, into any) (Lines, error) {
	switch {
	case len(text) > MaxSize:
		return nil, fmt.Errorf("%d bytes: want at most %d", len(text), MaxSize)
	case len(bytes.TrimSpace(text)) == 0:
		return nil, errors.New("empty: want a JSON object, {} says nothing")
	}
	d := &decoder{format: f, text: text, json: json.NewDecoder(bytes.NewReader(text)), lines: Lines{}, line: 1}
	if at := invalid(text); at >= 0 {
		return nil, fmt.Errorf("line %d: not UTF-8", d.lineAt(int64(at)))
	}
	d.json.UseNumber()
	if err := d.next("", reflect.ValueOf(into).Elem()); err != nil {
		return nil, d.joined(err)
	}
	if _, err := d.json.Token(); err != io.EOF {
		return nil, d.joined(fmt.Errorf("line %d: something follows the end of the JSON", d.here()))
	}
	return d.lines, d.joined(nil)
}

// invalid returns where text is not UTF-8, or -1.
func invalid(text []byte) int {
	for at := 0; at < len(text); {
		r, size := utf8.DecodeRune(text[at:])
		if r == utf8.RuneError && size == 1 {
			return at
		}
		at += size
	}
	return -1
}

// decoder reads one text. Its methods return an error only if nothing more can be read.
type decoder struct {
	format Format
	text   []byte
	json   *json.Decoder
	lines  Lines
	errs   []error

	line   int   // of offset
	offset int64 // how far lines were counted
}

var errMany = errors.New("and more")

func (d *decoder) joined(last error) error { return errors.Join(append(d.errs, last)...) }

// fail notes a mistake after which reading can go on.
func (d *decoder) fail(path, format string, args ...any) error {
	if len(d.errs) == maxErrors {
		return errMany
	}
	if path != "" {
		path += ": "
	}
	d.errs = append(d.errs, fmt.Errorf("%sline %d: %s", path, d.here(), fmt.Sprintf(format, args...)))
	return nil
}

// here returns the line of what was read last.
func (d *decoder) here() int { return d.lineAt(d.json.InputOffset()) }

func (d *decoder) lineAt(offset int64) int {
	offset = min(offset, int64(len(d.text)))
	if offset > d.offset {
		d.line += bytes.Count(d.text[d.offset:offset], []byte("\n"))
		d.offset = offset
	}
	return d.line
}

// token reads the next token.
func (d *decoder) token() (json.Token, error) {
	token, err := d.json.Token()
	var syntax *json.SyntaxError
	switch {
	case err == nil:
		return token, nil
	case errors.As(err, &syntax):
		return nil, fmt.Errorf("line %d: %w", d.lineAt(syntax.Offset), err)
	default: // the text ends, or a number has no end
		return nil, fmt.Errorf("line %d: the JSON is cut off: %w", d.lineAt(int64(len(d.text))), io.ErrUnexpectedEOF)
	}
}

// next reads the next value into v.
func (d *decoder) next(path string, v reflect.Value) error {
	token, err := d.token()
	if err != nil {
		return err
	}
	return d.value(path, token, v)
}

// value reads the value that token begins into v.
func (d *decoder) value(path string, token json.Token, v reflect.Value) error {
	if token == nil {
		return d.fail(path, "null: leave the key out instead")
	}
	if codec, ok := d.format[v.Type()]; ok {
		return d.coded(path, token, v, codec)
	}
	if _, ok := Switch(v.Type()); ok {
		return d.switched(path, token, v)
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		return d.value(path, token, v.Elem())
	case reflect.Struct:
		return d.object(path, token, v, d.structKey(v))
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		return d.object(path, token, v, d.mapKey(v))
	case reflect.Slice:
		return d.list(path, token, v)
	default:
		return d.scalar(path, token, v)
	}
}

// switched reads false, or what is there when it is not off.
func (d *decoder) switched(path string, token json.Token, v reflect.Value) error {
	on, is := token.(bool)
	switch {
	case !is:
		return d.value(path, token, v.Field(1))
	case on:
		return d.fail(path, "true: want %s, or false to switch it off", d.wants(v.Field(1).Type().Elem()))
	}
	v.Field(0).SetBool(true)
	return nil
}

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
	if bool, is := token.(bool); is && !bool && v.Kind() == reflect.Struct {
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

func shown(text string) string {
	if len(text) > 120 {
		text = strings.ToValidUTF8(text[:120], "") + "…"
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

// object reads an object, each value by what set returns for its key; nil: it is unknown.
func (d *decoder) object(path string, token json.Token, v reflect.Value, set func(path, key string) (string, func(json.Token) error, error)) error {
	if token != json.Delim('{') {
		return d.mismatch(path, token, v)
	}
	seen := map[string]bool{}
	for {
		token, err := d.token()
		if err != nil {
			return err
		}
		key, is := token.(string)
		if !is {
			return nil // the end
		}
		at, read, err := set(path, key)
		if err == nil && read != nil {
			if seen[key] {
				err = d.fail(at, "given twice")
			}
			seen[key] = true
			d.lines[at] = d.here()
		}
		if err != nil {
			return err
		}
		if token, err = d.token(); err != nil {
			return err
		}
		if read == nil {
			err = d.skip(token)
		} else {
			err = read(token)
		}
		if err != nil {
			return err
		}
	}
}

func (d *decoder) structKey(v reflect.Value) func(path, key string) (string, func(json.Token) error, error) {
	fields := Fields(v.Type())
	return func(path, key string) (string, func(json.Token) error, error) {
		var known []string
		for _, f := range fields {
			if at := Under(path, key); f.Key == key {
				return at, func(token json.Token) error { return d.value(at, token, v.FieldByIndex(f.Index)) }, nil
			}
			known = append(known, f.Key)
		}
		hint := "want one of " + strings.Join(known, ", ")
		if k := nearest(key, known); k != "" {
			hint = fmt.Sprintf("did you mean %q? Known are %s", k, strings.Join(known, ", "))
		}
		return "", nil, d.fail(Under(path, shown(key)), "unknown key: %s", hint)
	}
}

func (d *decoder) mapKey(v reflect.Value) func(path, key string) (string, func(json.Token) error, error) {
	return func(path, key string) (string, func(json.Token) error, error) {
		at := Entry(path, key)
		return at, func(token json.Token) error {
			entry := reflect.New(v.Type().Elem()).Elem()
			err := d.value(at, token, entry)
			v.SetMapIndex(reflect.ValueOf(key), entry)
			return err
		}, nil
	}
}

func (d *decoder) list(path string, token json.Token, v reflect.Value) error {
	if token != json.Delim('[') {
		return d.mismatch(path, token, v)
	}
	v.Set(reflect.MakeSlice(v.Type(), 0, 0))
	for {
		token, err := d.token()
		if err != nil {
			return err
		}
		if token == json.Delim(']') {
			return nil
		}
		element := reflect.New(v.Type().Elem()).Elem()
		if err := d.value(fmt.Sprintf("%s[%d]", path, v.Len()), token, element); err != nil {
			return err
		}
		v.Set(reflect.Append(v, element))
	}
}

func (d *decoder) coded(path string, token json.Token, v reflect.Value, codec Codec) error {
	text, is := token.(string)
	if is {
		if value, ok := codec.Parse(text); ok {
			v.Set(reflect.ValueOf(value))
			return nil
		}
	}
	return d.mismatch(path, token, v)
}

func (d *decoder) scalar(path string, token json.Token, v reflect.Value) error {
	switch token := token.(type) {
	case bool:
		if v.Kind() == reflect.Bool {
			v.SetBool(token)
			return nil
		}
	case string:
		if v.Kind() == reflect.String {
			v.SetString(token)
			return nil
		}
	case json.Number:
		number, err := token.Float64()
		inside := err == nil && number >= 0 && number <= MaxNumber
		switch {
		case inside && v.Kind() == reflect.Float64:
			v.SetFloat(number)
			return nil
		case inside && v.Kind() == reflect.Int && number == float64(int64(number)):
			v.SetInt(int64(number))
			return nil
		}
	}
	return d.mismatch(path, token, v)
}
