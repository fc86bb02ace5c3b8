package browsertest

import (
	"fmt"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// A page of 500 instances, all busy, stays usable. So do pages of thousands, which have no
// bars: with the race detector on a busy machine they measure that.
func TestFiveHundredInstances(t *testing.T) {
	s := synthetic(500)
	b := open(t)
	b.do(chromedp.Navigate(serve(t, s.handler())))
	b.until(isLive)
	for n := range 3 { // the machine may have been busy with something else once
		m := measure(b, s, 33+n)
		t.Log(m)
		if m.paint < 10*time.Second && m.change < 4*time.Second && m.filter < 2*time.Second && m.busy < 0.7 {
			return
		}
		b.do(chromedp.Reload())
		b.until(isLive)
	}
	t.Error("three times a page of 500 instances took too long: want a first paint within 10 s, changes within 4 s, the filter within 2 s, a third of the time free")
}

func TestThousandsOfInstances(t *testing.T) {
	var ten []string
	for n := range 10 {
		ten = append(ten, fmt.Sprintf("service%d", n))
	}
	for name, s := range map[string]*stage{"ten services of 500": synthetic(500, ten...), "two of 2,000": synthetic(2000, "a", "b")} {
		t.Run(name, func(t *testing.T) {
			b := open(t)
			b.do(chromedp.Navigate(serve(t, s.handler())))
			b.until(isLive)
			m := measure(b, s, 33)
			t.Log(m)
			if m.size > 1<<20 {
				t.Errorf("the page has %d bytes", m.size)
			}
			if rows := eval[int](b, `document.querySelectorAll(".instances tbody tr").length`); rows > 1000 {
				t.Errorf("the page has %d rows", rows)
			}
			b.until(`document.querySelector(".more").textContent.includes("more not shown")`)
		})
	}
}

// measures are how well a page can be used.
type measures struct {
	paint, change, filter time.Duration
	busy                  float64 // share of the time
	size                  int     // bytes, as loaded
}

func (m measures) String() string {
	return fmt.Sprintf("%d KiB painted after %v, a change shown after %v, filtered within %v, busy for %.0f %% of the time",
		m.size>>10, m.paint.Round(time.Millisecond), m.change.Round(time.Millisecond), m.filter.Round(time.Millisecond), m.busy*100)
}

// measure uses the page that b shows of s: instance n of the first service fails, and is
// looked for.
func measure(b *browser, s *stage, n int) (m measures) {
	b.t.Helper()
	ms := func(v float64) time.Duration { return time.Duration(v * float64(time.Millisecond)) }
	m.paint = ms(eval[float64](b, `performance.getEntriesByName("first-contentful-paint")[0].startTime`))
	m.size = eval[int](b, `performance.getEntriesByType("navigation")[0].decodedBodySize`)

	id := s.all[0].Instances[n].ID
	turned := b.watch(state(id) + `.includes("failed")`)
	failed := time.Now()
	s.change(func() { s.fail(n) })
	m.change = turned().Sub(failed)

	// All the numbers change each second: the page must have time left for its reader.
	m.busy = eval[float64](b, `new Promise((done) => {
		let long = 0;
		new PerformanceObserver((l) => l.getEntries().forEach((e) => (long += e.duration))).observe({entryTypes: ["longtask"]});
		setTimeout(() => done(long / 5000), 5000);
	})`)
	m.filter = ms(eval[float64](b, fmt.Sprintf(`new Promise((done) => {
		const q = document.getElementById("q"), began = performance.now();
		q.value = %q;
		q.dispatchEvent(new Event("input"));
		requestAnimationFrame(() => setTimeout(() => done(performance.now() - began)));
	})`, id)))
	if shown := eval[int](b, `[...document.querySelectorAll(".instances tbody tr")].filter((r) => !r.hidden).length`); shown < 1 || shown > 11 {
		b.t.Errorf("%d instances found for %q", shown, id)
	}
	eval[bool](b, `(document.getElementById("q").value = "", document.getElementById("q").dispatchEvent(new Event("input")))`)
	return m
}
