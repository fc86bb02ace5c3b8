package strictjson

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
)

// Encode writes v, a struct, as Decode reads it.
func (f Format) Encode(v any) ([]byte, error) {
	var b bytes.Buffer
	if err := f.write(&b, reflect.ValueOf(v)); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func (f Format) write(b *bytes.Buffer, v reflect.Value) error {
	if codec, ok := f[v.Type()]; ok {
		return plain(b, codec.String(v.Interface()))
	}
	if _, ok := Switch(v.Type()); ok {
		if v.Field(0).Bool() {
			return plain(b, false)
		}
		return f.write(b, v.Field(1).Elem())
	}
	switch v.Kind() {
	case reflect.Pointer:
		return f.write(b, v.Elem())
	case reflect.Struct:
		return f.writeStruct(b, v)
	case reflect.Map:
		return f.writeMap(b, v)
	case reflect.Slice:
		return f.writeList(b, v)
	default:
		return plain(b, v.Interface())
	}
}

func plain(b *bytes.Buffer, v any) error {
	text, err := json.Marshal(v)
	b.Write(text)
	return err
}

func (f Format) writeStruct(b *bytes.Buffer, v reflect.Value) error {
	b.WriteByte('{')
	first := true
	for _, field := range Fields(v.Type()) {
		value := v.FieldByIndex(field.Index)
		if value.IsZero() {
			continue
		}
		if !first {
			b.WriteByte(',')
		}
		first = false
		fmt.Fprintf(b, "%q:", field.Key)
		if err := f.write(b, value); err != nil {
			return fmt.Errorf("%s: %w", field.Key, err)
		}
	}
	b.WriteByte('}')
	return nil
}

func (f Format) writeMap(b *bytes.Buffer, v reflect.Value) error {
	keys := make([]string, 0, v.Len())
	for _, k := range v.MapKeys() {
		keys = append(keys, k.String())
	}
	slices.Sort(keys)
	b.WriteByte('{')
	for n, key := range keys {
		if n > 0 {
			b.WriteByte(',')
		}
		if err := plain(b, key); err != nil {
			return err
		}
		b.WriteByte(':')
		if err := f.write(b, v.MapIndex(reflect.ValueOf(key))); err != nil {
			return fmt.Errorf("%s: %w", shown(key), err)
		}
	}
	b.WriteByte('}')
	return nil
}

func (f Format) writeList(b *bytes.Buffer, v reflect.Value) error {
	b.WriteByte('[')
	for n := range v.Len() {
		if n > 0 {
			b.WriteByte(',')
		}
		if err := f.write(b, v.Index(n)); err != nil {
			return err
		}
	}
	b.WriteByte(']')
	return nil
}
