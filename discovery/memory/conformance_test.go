package memory_test

import (
	"errors"
	"testing"

	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/discovery/discoverytest"
	"github.com/surecall/surecall/discovery/memory"
)

func TestConformance(t *testing.T) {
	for _, bubble := range []bool{true, false} {
		name := "real time"
		if bubble {
			name = "bubble"
		}
		t.Run(name, func(t *testing.T) { conformance(t, bubble) })
	}
}

func conformance(t *testing.T, bubble bool) {
	registry := memory.New()
	sets := map[string]map[string]discovery.Instance{} // parts run one by one
	write := func(service string) {
		var set []discovery.Instance
		for _, i := range sets[service] {
			set = append(set, i)
		}
		registry.Set(service, set...)
	}
	discoverytest.Run(t, discoverytest.Harness{
		Source:    registry,
		Registrar: registry,
		Put: func(_ *testing.T, instances ...discovery.Instance) {
			for _, i := range instances {
				if sets[i.Service] == nil {
					sets[i.Service] = map[string]discovery.Instance{}
				}
				sets[i.Service][i.ID] = i
			}
			write(instances[0].Service)
		},
		Remove: func(_ *testing.T, service, id string) {
			delete(sets[service], id)
			write(service)
		},
		Break: func(*testing.T) { registry.Fail(errors.New("on purpose")) },
		Heal:  func(*testing.T) { registry.Recover() },
		Refused: []discovery.Query{
			{Service: "orders", Filter: "Service.Tags contains v2"},
			{Service: "orders", Datacenter: "eu"},
			{Service: "orders", Accept: 99},
		},
		Quiet:  true,
		Bubble: bubble,
	})
}
