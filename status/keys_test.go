package status_test

import (
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/surecall/surecall/status"
)

// Programs read the JSON: a key that is renamed or gone breaks them. testdata/keys.txt has
// them all, with their types; what is new is added there.
func TestKeysOfTheJSONStay(t *testing.T) {
	golden, err := os.ReadFile("testdata/keys.txt")
	if err != nil {
		t.Fatal(err)
	}
	is := strings.Join(keys("", reflect.TypeFor[status.Status]()), "\n") + "\n"
	if is != string(golden) {
		t.Errorf("the keys are\n%s", is)
	}
}

// keys are those of a type's JSON, by path.
func keys(path string, of reflect.Type) []string {
	switch {
	case of.Kind() == reflect.Pointer:
		return keys(path, of.Elem())
	case of.Kind() == reflect.Slice:
		return keys(path+"[]", of.Elem())
	case of == reflect.TypeFor[time.Time]():
		return []string{path + " moment"}
	case of.Kind() != reflect.Struct:
		return []string{path + " " + of.String()}
	}
	var all []string
	for n := range of.NumField() {
		f := of.Field(n)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Type == reflect.SliceOf(of) { // a datacenter is a source
			all = append(all, path+"."+name+"[] as "+path)
			continue
		}
		all = append(all, keys(path+"."+name, f.Type)...)
	}
	return all
}
