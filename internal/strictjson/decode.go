package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
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
	case errors.As(err, &syntax): // its Offset leaves out what was between values
		return nil, fmt.Errorf("line %d: %w", d.here(), err)
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
