package status

import (
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"reflect"
)

func (p *page) json(w http.ResponseWriter) {
	content, err := encode(p.read())
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_, _ = w.Write(content)
}

// encode returns the JSON of all. It has no infinity: one is the largest number there, and
// what is not a number is 0.
func encode(all []Status) ([]byte, error) {
	type document struct {
		Clients []Status `json:"clients"`
	}
	if all == nil {
		all = []Status{}
	}
	content, err := json.MarshalIndent(document{all}, "", " ")
	if unsupported := (*json.UnsupportedValueError)(nil); errors.As(err, &unsupported) {
		finite := finite(reflect.ValueOf(document{all})).Interface()
		content, err = json.MarshalIndent(finite, "", " ")
	}
	return append(content, '\n'), err
}

// finite returns a copy of v with finite numbers only.
func finite(v reflect.Value) reflect.Value {
	switch v.Kind() {
	case reflect.Float64:
		return reflect.ValueOf(bounded(v.Float())).Convert(v.Type())
	case reflect.Pointer:
		if v.IsNil() {
			return v
		}
		c := reflect.New(v.Type().Elem())
		c.Elem().Set(finite(v.Elem()))
		return c
	case reflect.Slice:
		if v.IsNil() {
			return v
		}
		c := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
		for n := range v.Len() {
			c.Index(n).Set(finite(v.Index(n)))
		}
		return c
	case reflect.Struct:
		c := reflect.New(v.Type()).Elem()
		c.Set(v)
		for n := range v.NumField() {
			if v.Type().Field(n).IsExported() {
				c.Field(n).Set(finite(v.Field(n)))
			}
		}
		return c
	default:
		return v // no map of ours has numbers that are not whole
	}
}

func bounded(f float64) float64 {
	if math.IsNaN(f) {
		return 0
	}
	return max(-math.MaxFloat64, min(math.MaxFloat64, f))
}
