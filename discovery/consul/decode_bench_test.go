package consul

import (
	"encoding/json"
	"fmt"
	"testing"
)

// BenchmarkDecode is one change of a service of 1,000 instances.
func BenchmarkDecode(b *testing.B) {
	list := make([]entry, 1000)
	for i := range list {
		list[i] = up(fmt.Sprintf("web-%d", i), fmt.Sprintf("10.0.%d.%d", i/250, i%250+1))
		list[i].Service.Tags = []string{"v2", "eu"}
		list[i].Service.Meta = map[string]string{"version": "1.2.3", "team": "a"}
	}
	body, err := json.Marshal(list)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		var e entries
		if err := json.Unmarshal(body, &e); err != nil {
			b.Fatal(err)
		}
		if d := decode(e, web); len(d.instances) != 1000 {
			b.Fatal(len(d.instances))
		}
	}
}
