package browsertest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/surecall/surecall/status"
)

// Whatever a registry says, nothing stands out of the page, on a telephone neither: what is
// too wide is broken, or scrolls within its table.
func TestNothingStandsOut(t *testing.T) {
	long := strings.Repeat("W", 400)
	s := synthetic(3, "orders", long)
	c := &s.all[0]
	c.Target, c.Disabled, c.Source.Why, c.Source.Trusted = long, []string{long}, long, false
	c.Instances[0].ID, c.Instances[0].Address, c.Instances[0].Zone, c.Instances[0].State, c.Instances[0].Why = long, long, long, long, long
	c.Limits = []status.Limit{{Scope: long, InFlight: 1 << 50, Limit: 1 << 60}}
	c.Policies = []status.Policy{{Layer: long, From: long, Since: time.Now(), Sets: []string{long}, Refused: long}}
	c.Events[0].Text, c.Events[0].Instance = long, long
	c.Methods = []status.Method{{Name: "/" + long, Calls: map[string]uint64{"OK": 1 << 60}}}
	c.BadCalls[0].Method, c.BadCalls[0].Error, c.BadCalls[0].Code, c.BadCalls[0].Advice = long, long, long, []string{long}
	c.BadCalls[0].Attempts = []status.Attempt{{Instance: long, Address: long, Error: long, Verdict: long}}
	c.Notifications = status.Notifications{Sent: 1 << 60, Failed: 1 << 60}
	b := open(t)
	b.do(chromedp.Navigate(serve(t, s.handler())))
	b.until(isLive)
	b.do(chromedp.Evaluate[chromedp.Void](`document.querySelectorAll("details").forEach((d) => (d.open = true))`))
	for _, width := range []int64{320, 360, 800, 1360} {
		b.do(chromedp.EmulateViewport(width, 900))
		if out := eval[string](b, standsOut); out != "" {
			t.Errorf("%d px wide: %s", width, out)
		}
	}
}

// standsOut are the elements that stand out of the window, but for those that a table scrolls.
const standsOut = `[...document.querySelectorAll("body *")].filter((e) => !e.closest(".scroll *, .marks, .quiet, .skip") &&
	(e.getBoundingClientRect().right > innerWidth + 1 || e.getBoundingClientRect().left < -1)).map((e) => e.outerHTML.slice(0, 90)).slice(0, 5).join("\n")`

// All that a reader scrolls can be scrolled by keyboard, has a name, and what one goes to is
// not below the bar.
func TestKeyboard(t *testing.T) {
	b := open(t)
	b.do(chromedp.Navigate(serve(t, synthetic(60, "a", "b").handler())))
	b.until(isLive)
	for what, expression := range map[string]string{
		"cannot be reached": `[...document.querySelectorAll(".scroll, .log")].filter((e) => e.tabIndex < 0)`,
		"have no name":      `[...document.querySelectorAll("[role=region], [role=log]")].filter((e) => !document.getElementById(e.getAttribute("aria-labelledby"))?.textContent)`,
		"have no caption":   `[...document.querySelectorAll("table")].filter((e) => !e.caption?.textContent)`,
		"have no scope":     `[...document.querySelectorAll("th")].filter((e) => !e.scope)`,
		"have no list":      `[...document.querySelectorAll("li")].filter((e) => !e.parentElement.matches("ul:not([role]), ol:not([role])"))`,
	} {
		if bad := eval[int](b, expression+".length"); bad > 0 {
			t.Errorf("%d elements %s", bad, what)
		}
	}
	for _, id := range []string{"s0", "s1"} {
		below := eval[bool](b, fmt.Sprintf(`(location.hash = %q, new Promise((done) => requestAnimationFrame(() =>
			done(document.getElementById(%[1]q).getBoundingClientRect().top >= document.querySelector(".bar").getBoundingClientRect().bottom))))`, id))
		if !below {
			t.Errorf("#%s is below the bar", id)
		}
	}
}
