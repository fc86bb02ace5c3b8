package disk

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/surecall/surecall/discovery"
)

var (
	orders  = Identity{Origin: "consul at localhost:8500", Query: discovery.Query{Service: "orders", Datacenter: "eu", Tags: []string{"v2"}}}
	written = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	set     = []discovery.Instance{
		{
			ID: "a", Incarnation: "7", Service: "orders", Address: "[fd00::1]:80", Weight: 3, Region: "eu", Zone: "eu-1", Priority: 1,
			ServerName: "a.example", Tags: []string{"v2"}, Meta: map[string]string{discovery.MetaLifecycle: "1"}, Health: discovery.Warning,
		},
		{ID: "b", Address: "unix:/run/b"},
	}
)

func sealed(t testing.TB, id Identity, s Snapshot) []byte {
	t.Helper()
	data, err := encode(id, s)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestRoundTrip: nothing of an instance is lost.
func TestRoundTrip(t *testing.T) {
	got, err := decode(sealed(t, orders, Snapshot{written, set}), orders)
	if err != nil {
		t.Fatal(err)
	}
	if !got.Written.Equal(written) || !reflect.DeepEqual(got.Instances, set) {
		t.Errorf("read %+v, written %+v", got, set)
	}
	v := reflect.ValueOf(set[0])
	for n := range v.NumField() {
		if v.Field(n).IsZero() {
			t.Errorf("this test does not cover Instance.%s", v.Type().Field(n).Name)
		}
	}
}

// TestRefused: what is not exactly what was written is refused, and why is told.
func TestRefused(t *testing.T) {
	good := sealed(t, orders, Snapshot{written, set})
	change := func(do func(data []byte) []byte) []byte { return do(bytes.Clone(good)) }
	payments := orders
	payments.Query.Service = "payments"
	us := orders
	us.Query.Datacenter = "us"
	elsewhere := orders
	elsewhere.Origin = "consul at 10.0.0.1:8500"
	for _, test := range []struct {
		name string
		data []byte
		want string
	}{
		{"empty", nil, "not a snapshot"},
		{"foreign", []byte("{\"orders\": []}\n"), "not a snapshot"},
		{"the magic alone", []byte(magic), "not a snapshot"},
		{"a header without an end", bytes.TrimRight([]byte(strings.SplitAfter(string(good), "\n")[0]), "\n"), "not a snapshot"},
		{"a later format", change(func(d []byte) []byte { d[len(magic)] = '2'; return d }), "format \"2\": want 1"},
		{"cut off", good[:len(good)-1], "cut off"},
		{"cut off after the header", good[:bytes.IndexByte(good, '\n')+1], "cut off"},
		{"longer", append(bytes.Clone(good), ' '), "changed"},
		{"one bit", change(func(d []byte) []byte { d[len(d)-9] ^= 1; return d }), "changed"},
		{"one bit of the checksum", change(func(d []byte) []byte { d[bytes.IndexByte(d, '\n')-1] ^= 1; return d }), "changed"},
		{"another length", bytes.Replace(good, []byte(" 1 "), []byte(" 1 0"), 1), "changed"},
		{"no JSON", seal([]byte("orders")), "broken"},
		{"another service's", sealed(t, payments, Snapshot{written, set}), "another source or query"},
		{"another datacenter's", sealed(t, us, Snapshot{written, set}), "another source or query"},
		{"another registry's", sealed(t, elsewhere, Snapshot{written, set}), "another source or query"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if s, err := decode(test.data, orders); err == nil || !strings.Contains(err.Error(), test.want) || s.Instances != nil {
				t.Errorf("read %v, error %v: want one that says %q", s, err, test.want)
			}
		})
	}
}

// TestTooLargeIsNotWritten: a file that could not be read again is not written.
func TestTooLargeIsNotWritten(t *testing.T) {
	huge := []discovery.Instance{{ID: "a", Meta: map[string]string{"x": strings.Repeat("x", MaxSize)}}}
	if _, err := encode(orders, Snapshot{written, huge}); err == nil || !strings.Contains(err.Error(), "at most") {
		t.Errorf("error %v", err)
	}
}

// TestFileName: no name of a service leads out of the folder, or to another's file.
func TestFileName(t *testing.T) {
	seen := map[string]string{}
	for _, service := range []string{"orders", "Orders", "a/b", "a_b", "../../etc/passwd", "..", ".", "", "a\x00b", "ä", strings.Repeat("x", 5000), "nul", "a b"} {
		id := Identity{Origin: "o", Query: discovery.Query{Service: service}}
		name := id.file()
		if len(name) > 80 || strings.ContainsAny(name, "/\\\x00 :") || strings.Contains(name, "..") {
			t.Errorf("service %.20q is in %q", service, name)
		}
		if other, taken := seen[name]; taken {
			t.Errorf("%q and %q share %q", service, other, name)
		}
		seen[name] = service
	}
	if name := orders.file(); !strings.HasPrefix(name, "orders-") {
		t.Errorf("a person does not find orders in %q", name)
	}
}

// FuzzDecode: whatever a file holds, it is refused or it is a snapshot of the one asked
// for.
func FuzzDecode(f *testing.F) {
	f.Add(sealed(f, orders, Snapshot{written, set}))
	f.Add([]byte(magic + "1 0 \n"))
	f.Add([]byte(magic + "2 0 e3b0\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := decode(data, orders); err == nil && !bytes.Contains(data, orders.text()) {
			t.Errorf("%q was read as the snapshot of orders", data)
		}
	})
}

// FuzzBody is the same behind a header that is right, which chance does not find. What
// is accepted can be written and read again.
func FuzzBody(f *testing.F) {
	good, _ := json.Marshal(body{written, orders.text(), set})
	f.Add(good)
	f.Add([]byte(`{"of":null,"instances":[null]}`))
	f.Add([]byte(`{"written":"x"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := decode(seal(text), orders)
		if err != nil {
			return
		}
		again, err := decode(sealed(t, orders, s), orders)
		if err != nil || !again.Written.Equal(s.Written) || len(again.Instances) != len(s.Instances) {
			t.Errorf("read %v, then %v: %v", s, again, err)
		}
		discovery.Sanitize(s.Instances)
	})
}
