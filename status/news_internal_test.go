package status

import (
	"bytes"
	"fmt"
	"html/template"
	"testing"
	"time"
)

// However many pages are open, what is new since the last second is put into words once.
func TestNewsAreMadeOnce(t *testing.T) {
	r := newRenderer(template.Must(template.New("").ParseFS(assets, "assets/*.html")))
	all := []Status{{Service: "orders"}}
	r.page(all, time.Now(), "")
	all[0].InFlight = 7
	v := r.page(all, time.Now(), "")
	one, other := v.since(v.Version-1), v.since(v.Version-1)
	if &one[0] != &other[0] {
		t.Error("two pages that follow cost two messages")
	}
	if !bytes.Equal(one, v.message(v.Version-1)) || len(v.since(0)) <= len(one) {
		t.Errorf("the news are %s, and for a new page %s", one, v.since(0))
	}
}

// BenchmarkNews is what one look costs while a page is open: nothing new, new numbers of all
// instances, a new state of one.
func BenchmarkNews(b *testing.B) {
	for _, n := range []int{5, 500, 5000} {
		all := []Status{{Service: "orders"}}
		for i := range n {
			all[0].Instances = append(all[0].Instances, Instance{
				ID: fmt.Sprint("orders-", i), Address: "10.0.0.1:80", State: "eligible", Eligible: true, Weight: 1, SlowStart: 1, Share: 1, Breaker: &Breaker{State: "closed"},
			})
		}
		templates := template.Must(template.New("").ParseFS(assets, "assets/*.html"))
		r := newRenderer(templates)
		b.Run(fmt.Sprintf("glance/%d", n), func(b *testing.B) {
			for b.Loop() {
				essence(all)
			}
		})
		b.Run(fmt.Sprintf("state/%d", n), func(b *testing.B) {
			for k := 0; b.Loop(); k++ {
				all[0].Instances[0].Eligible = k%2 == 0
				r.page(all, time.Now(), "").since(r.version - 1)
			}
		})
		b.Run(fmt.Sprintf("numbers/%d", n), func(b *testing.B) {
			for k := 0; b.Loop(); k++ {
				for i := range all[0].Instances {
					all[0].Instances[i].InFlight = (i + k) % 10
				}
				v := r.page(all, time.Now(), "")
				b.ReportMetric(float64(len(v.since(v.Version-1))), "bytes/news")
			}
		})
	}
}
