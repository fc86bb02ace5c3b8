package strictjson

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
)

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
