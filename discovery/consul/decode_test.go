package consul

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/surecall/surecall/discovery"
)

// read decodes an answer as it comes off the wire.
func read(t testing.TB, body string, q discovery.Query) decoded {
	var e entries
	if err := json.Unmarshal([]byte(body), &e); err != nil {
		t.Fatal(err)
	}
	return decode(e, q)
}

func TestDecode(t *testing.T) {
	const body = `[{
		"Node": {"Node": "n1", "Address": "10.0.0.9", "TaggedAddresses": {"wan": "203.0.113.9"}, "Locality": {"Region": "eu", "Zone": "eu-1"}},
		"Service": {"ID": "web-1", "Service": "web", "Tags": ["v2"], "Address": "", "Port": 8080,
			"Ports": [{"Name": "http", "Port": 8080, "Default": true}, {"Name": "grpc", "Port": 9090}],
			"TaggedAddresses": {"lan": {"Address": "10.1.0.1", "Port": 7070}},
			"Weights": {"Passing": 10, "Warning": 2}, "CreateIndex": 42,
			"Meta": {"surecall-server-name": "web.internal", "team": "a"}},
		"Checks": [{"CheckID": "serfHealth", "Status": "passing"}, {"CheckID": "x", "Status": "warning"}]
	}]`
	got := read(t, body, web)
	want := discovery.Instance{
		ID: "web-1", Incarnation: "42", Service: "web", Address: "10.0.0.9:8080", Weight: 2, Region: "eu", Zone: "eu-1",
		ServerName: "web.internal", Tags: []string{"v2"}, Meta: map[string]string{"team": "a"}, Health: discovery.Warning,
	}
	if len(got.instances) != 1 || !sameInstance(got.instances[0], want) || len(got.problems) != 0 {
		t.Fatalf("got  %+v\nwant %+v", got, want)
	}
	for q, address := range map[string]string{"Port:grpc": "10.0.0.9:9090", "TaggedAddress:lan": "10.1.0.1:7070", "TaggedAddress:wan": "203.0.113.9:8080"} {
		name, value, _ := strings.Cut(q, ":")
		query := discovery.Query{Service: "web", Port: value}
		if name == "TaggedAddress" {
			query = discovery.Query{Service: "web", TaggedAddress: value}
		}
		if d := read(t, body, query); len(d.instances) != 1 || d.instances[0].Address != address {
			t.Errorf("%s: %+v, want %s", q, d, address)
		}
	}
	for _, query := range []discovery.Query{{Service: "web", Port: "admin"}, {Service: "web", TaggedAddress: "moon"}} {
		if d := read(t, body, query); len(d.instances) != 0 || len(d.problems) != 1 {
			t.Errorf("%+v: %+v, want one problem", query, d)
		}
	}
}

func TestDecodeOddities(t *testing.T) {
	tests := []struct {
		name, service string
		want          string // "address weight health" or empty: skipped
		problem       string
	}{
		{"plain", `"Port": 1`, "10.0.0.9:1 1 passing", ""},
		{"own address", `"Address": "10.1.1.1", "Port": 1`, "10.1.1.1:1 1 passing", ""},
		{"IPv6", `"Address": "2001:db8::1", "Port": 1`, "[2001:db8::1]:1 1 passing", ""},
		{"IPv6 in brackets", `"Address": "[2001:db8::1]", "Port": 1`, "[2001:db8::1]:1 1 passing", ""},
		{"socket", `"SocketPath": "/run/web.sock"`, "unix:/run/web.sock 1 passing", ""},
		{"no port", `"Port": 0`, "", "port"},
		{"negative port", `"Port": -1`, "", "port"},
		{"huge port", `"Port": 70000`, "", "port"},
		{"default port of the named ones", `"Ports": [{"Name": "a", "Port": 7, "Default": true}]`, "10.0.0.9:7 1 passing", ""},
		{"broken address", `"Address": "\u0000", "Port": 1`, "", "control character"},
		{"port is a string", `"Port": "http"`, "", "ignored"},
		{"weight 0", `"Port": 1, "Weights": {"Passing": 0}`, "10.0.0.9:1 1 passing", ""},
		{"weight below 0", `"Port": 1, "Weights": {"Passing": -5}`, "10.0.0.9:1 1 passing", "used as 1"},
		{"huge weight", `"Port": 1, "Weights": {"Passing": 1000000000}`, "10.0.0.9:1 65535 passing", "used as 65535"},
		{"weight in meta", `"Port": 1, "Weights": {"Passing": 1, "Warning": 1}, "Meta": {"weight": "30"}`, "10.0.0.9:1 30 passing", ""},
		{"Consul's weight wins over meta", `"Port": 1, "Weights": {"Passing": 5, "Warning": 1}, "Meta": {"weight": "30"}`, "10.0.0.9:1 5 passing", ""},
		{"weight in meta is no number", `"Port": 1, "Meta": {"weight": "NaN"}`, "10.0.0.9:1 1 passing", "meta weight"},
		{"kratos", `"Address": "10.1.1.1", "Port": 8000, "TaggedAddresses": {"grpc": {"Address": "grpc://10.1.1.1:9000?isSecure=false", "Port": 9000}, "http": {"Address": "http://10.1.1.1:8000", "Port": 8000}}`, "10.1.1.1:9000 1 passing", ""},
		{"nulls", `"Port": 1, "Tags": null, "Meta": null, "Weights": null, "TaggedAddresses": null, "Ports": null, "Locality": null`, "10.0.0.9:1 1 passing", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := read(t, `[{"Node": {"Address": "10.0.0.9"}, "Service": {"ID": "x", `+tt.service+`}}]`, web)
			got := ""
			if len(d.instances) == 1 {
				i := d.instances[0]
				got = fmt.Sprintf("%s %d %v", i.Address, i.Weight, i.Health)
			}
			if got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
			problems := fmt.Sprint(d.problems)
			if (len(d.problems) > 0) != (tt.problem != "") || !strings.Contains(problems, tt.problem) {
				t.Errorf("problems %s, want one about %q", problems, tt.problem)
			}
		})
	}
}

// IDs are unique per agent only.
func TestDecodeDuplicateIDs(t *testing.T) {
	one := func(node, host, status string, created, modified uint64) entry {
		e := up("web", host)
		e.Node.Node, e.Checks[0].Status = node, status
		e.Service.CreateIndex, e.Service.ModifyIndex = created, modified
		return e
	}
	tests := []struct {
		name string
		list []entry
		want string // "id=address weight…"
	}{
		{"same address, the healthier stays", []entry{one("n1", "10.0.0.1", "critical", 1, 9), one("n2", "10.0.0.1", "passing", 2, 2)}, "web=10.0.0.1:8080/2"},
		{"same address and health, the newer stays", []entry{one("n1", "10.0.0.1", "passing", 1, 3), one("n2", "10.0.0.1", "passing", 2, 9)}, "web=10.0.0.1:8080/2"},
		{"moved to another node", []entry{one("n1", "10.0.0.1", "critical", 1, 9), one("n2", "10.0.0.2", "passing", 2, 2)}, "web=10.0.0.2:8080/2"},
		{"two instances", []entry{one("n2", "10.0.0.2", "passing", 2, 9), one("n1", "10.0.0.1", "passing", 1, 1)}, "web=10.0.0.1:8080/1 web@n2=10.0.0.2:8080/2"},
	}
	for _, tt := range tests {
		for range 2 {
			d := decode(entries{list: tt.list}, web)
			var got []string
			for _, i := range d.instances {
				got = append(got, i.ID+"="+i.Address+"/"+i.Incarnation)
			}
			if strings.Join(got, " ") != tt.want || len(d.problems) != 1 {
				t.Errorf("%s: %v with problems %v, want %s", tt.name, got, d.problems, tt.want)
			}
			slices.Reverse(tt.list) // the order means nothing
		}
	}
}

// What is not a list is no answer, above all not an empty one.
func TestDecodeRefusesWhatIsNoList(t *testing.T) {
	for _, body := range []string{`null`, `{}`, `"web"`, `<html>`, ``, `[{"Node":`} {
		var e entries
		if err := json.Unmarshal([]byte(body), &e); err == nil {
			t.Errorf("%q was taken for an answer", body)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(`[null, {}, {"Service": null}, {"Node": {"Address": "::"}, "Service": {"Port": 1, "ID": "\ud800"}}]`, "", "")
	f.Add(`[{"Service": {"Address": "[::1]", "Port": 65535, "TaggedAddresses": {"grpc": {"Address": "grpc://%zz"}}}}]`, "grpc", "")
	f.Add(`[{"Service": {"Address": "a", "Port": 1e99, "Weights": {"Passing": 1e9}, "Meta": {"weight": "1e400"}}}]`, "", "http")
	f.Fuzz(func(t *testing.T, body, tagged, port string) {
		var e entries
		if json.Unmarshal([]byte(body), &e) != nil {
			return
		}
		d := decode(e, discovery.Query{Service: "web", TaggedAddress: tagged, Port: port})
		seen := map[string]bool{}
		for _, i := range d.instances {
			if err := discovery.CheckAddress(i.Address); err != nil {
				t.Errorf("address %q: %v", i.Address, err)
			}
			if i.ID == "" || seen[i.ID] || i.Weight < 1 || i.Weight > discovery.MaxWeight || i.Health > discovery.Maintenance {
				t.Errorf("instance %+v", i)
			}
			seen[i.ID] = true
		}
		outputs([]byte(body))
	})
}

// Text that is not UTF-8 is mended by the decoder, and shown.
func TestDecodeBrokenText(t *testing.T) {
	var e entries
	body := []byte(`[{"Service":{"ID":"a` + "\xff" + `","Service":"web","Address":"10.0.0.1","Port":80}}]`)
	if err := json.Unmarshal(body, &e); err != nil {
		t.Fatal(err)
	}
	d := decode(e, discovery.Query{Service: "web"})
	if len(d.instances) != 1 || len(d.problems) != 1 || !strings.Contains(d.problems[0].What, "not UTF-8") {
		t.Errorf("instances %v, problems %v: want one of each, about UTF-8", d.instances, d.problems)
	}
}
