package static_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/discovery/discoverytest"
	"github.com/surecall/surecall/discovery/static"
)

var refused = []discovery.Query{
	{Service: "orders", Namespace: "n"},
	{Service: "orders", Near: "_agent"},
	{Service: "orders", Port: "http"},
}

func TestConformanceOfAList(t *testing.T) {
	for name, service := range map[string]string{"one service": "orders", "any service": ""} {
		t.Run(name, func(t *testing.T) {
			holds := []discovery.Instance{
				{ID: "a", Service: service, Address: "10.0.0.1:50051", Weight: 3},
				{ID: "b", Service: service, Address: "[::1]:50051", Tags: []string{"v2"}},
				{ID: "c", Service: service, Address: "unix:/run/orders.sock", Zone: "eu-1"},
			}
			source, err := static.New(holds...)
			if err != nil {
				t.Fatal(err)
			}
			discoverytest.Run(t, discoverytest.Harness{
				Source: source, Holds: holds, Refused: refused, Quiet: true, Bubble: true,
			})
		})
	}
}

// disk is a file that a test rewrites.
type disk struct {
	path string
	sets map[string]map[string]discovery.Instance
}

func newDisk(t *testing.T) *disk {
	d := &disk{filepath.Join(t.TempDir(), "fleet.json"), map[string]map[string]discovery.Instance{}}
	d.write(t)
	return d
}

func (d *disk) write(t *testing.T) {
	t.Helper()
	all := map[string][]discovery.Instance{}
	for service, set := range d.sets {
		for _, i := range set {
			all[service] = append(all[service], i)
		}
	}
	text, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	d.writeText(t, string(text))
}

func (d *disk) writeText(t *testing.T, text string) {
	t.Helper()
	if err := os.WriteFile(d.path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(d.path+".new", d.path); err != nil {
		t.Fatal(err)
	}
}

func TestConformanceOfAFile(t *testing.T) {
	d := newDisk(t)
	source, err := static.File(d.path)
	if err != nil {
		t.Fatal(err)
	}
	discoverytest.Run(t, discoverytest.Harness{
		Source: source,
		Put: func(t *testing.T, instances ...discovery.Instance) {
			for _, i := range instances {
				if d.sets[i.Service] == nil {
					d.sets[i.Service] = map[string]discovery.Instance{}
				}
				d.sets[i.Service][i.ID] = i
			}
			d.write(t)
		},
		Remove: func(t *testing.T, service, id string) {
			delete(d.sets[service], id)
			d.write(t)
		},
		Break:   func(t *testing.T) { d.writeText(t, `{"orders": [`) },
		Heal:    func(t *testing.T) { d.write(t) },
		Refused: refused,
		Bubble:  true,
	})
}
