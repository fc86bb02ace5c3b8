package browsertest

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/surecall/surecall"
)

const isLive = `document.getElementById("live").dataset.state == "live"`

// state is an expression: what the line of an instance says of its state, empty if there is
// no line.
func state(id string) string {
	return fmt.Sprintf(`([...document.querySelectorAll(".instances tbody tr")].find((r) => r.querySelector(".id").textContent == %q)?.cells[1].textContent ?? "")`, id)
}

// An instance that is killed turns on an open page within a second.
func TestKilledInstance(t *testing.T) {
	f := start(t, 5, "orders")
	url := serve(t, http.StripPrefix("/debug/status", surecall.StatusHandler(f.client)))
	b := open(t)
	b.do(chromedp.Navigate(url + "/debug/status/"))
	b.until(isLive)
	b.until(state("orders-5") + `.includes("eligible")`)
	var took time.Duration
	for _, victim := range []int{1, 2, 3} { // the machine may have been busy with something else once
		id := fmt.Sprintf("orders-%d", victim+1)
		failed := b.watch(state(id) + `.includes("failed")`)
		killed := time.Now()
		f.servers[victim].Stop()
		took = failed().Sub(killed)
		t.Logf("%s showed as failed %v after it was killed", id, took.Round(time.Millisecond))
		if took <= time.Second {
			break
		}
	}
	if took > time.Second {
		t.Errorf("a killed instance showed after %v: want a second", took)
	}
	b.until(`document.querySelector(".instances tbody tr").cells[1].textContent.includes("failed")`) // it stands first
	b.until(`document.querySelector(".events li").textContent.includes("failed")`)
	b.until(`document.title.startsWith("orders: ") && document.title.includes(" of 5 eligible")`)
	// What became of the page by its script is what the server would send now.
	if differ := eval[string](b, sameAsFresh); differ != "" {
		t.Errorf("the page differs from a fresh one: %s", differ)
	}
}

// sameAsFresh compares the tables' first cells, states and lists with those of a page that is
// loaded now.
const sameAsFresh = `fetch("").then((r) => r.text()).then((html) => {
	const fresh = new DOMParser().parseFromString(html, "text/html");
	const say = (d) => [...d.querySelectorAll(".instances tbody tr")].map((r) => r.cells[0].textContent + r.cells[1].textContent)
		.concat([...d.querySelectorAll(".events li, .methods .id")].map((e) => e.textContent)).join("\n");
	return say(document) == say(fresh) ? "" : say(document) + "\n--- fresh ---\n" + say(fresh);
})`

// Without JavaScript the page says what it says with it.
func TestWithoutScript(t *testing.T) {
	f := start(t, 5, "orders")
	url := serve(t, surecall.StatusHandler(f.client))
	if err := f.client.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	b := open(t)
	if _, err := chromedp.Call(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}); err != nil {
		t.Fatal(err)
	}
	b.do(chromedp.Navigate(url))
	text, err := chromedp.Run(b, chromedp.Text(chromedp.CSS("body")))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"as loaded", "of 5 eligible", "orders-1", "orders-5", "orders.v1.Orders/Get", "RECENT BAD CALLS", "EVENTS", "lists 5 instances, trusted", "load it again"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page does not say %q: %s", want, text)
		}
	}
	// The filter is a form.
	b.do(chromedp.SendKeys(chromedp.CSS("#q"), "orders-4\r"), chromedp.WaitVisible(chromedp.CSS(".notice")))
	if text, err = chromedp.Run(b, chromedp.Text(chromedp.CSS(".instances"))); err != nil || strings.Contains(text, "orders-1") || !strings.Contains(text, "orders-4") {
		t.Errorf("%v: found %s", err, text)
	}
}

// What a hostile registry says does nothing, neither in the page as loaded nor in what the
// stream puts there.
func TestHostileRegistry(t *testing.T) {
	evil := `<img src=x onerror="document.title='owned'">`
	script := `<script>document.title="owned"</script>`
	s := synthetic(3)
	url := serve(t, s.handler())
	b := open(t)
	b.do(chromedp.Navigate(url))
	b.until(isLive)
	s.change(func() {
		s.all[0].Instances[1].ID, s.all[0].Instances[1].Why, s.all[0].Events[0].Text = evil, script, evil
		s.all[0].Events[0].At = time.Now()
	})
	b.until(state(evil) + `.includes("<script>")`)
	b.do(chromedp.Reload())
	b.until(isLive)
	if n := eval[int](b, `document.querySelectorAll("img, main script").length`); n != 0 {
		t.Errorf("%d elements of the registry's", n)
	}
	if title := eval[string](b, `document.title`); strings.Contains(title, "owned") {
		t.Error("a script of the registry's ran")
	}
}

// What a reader opened, wrote and selected stays while the page goes on.
func TestReaderIsNotDisturbed(t *testing.T) {
	s := synthetic(20)
	b := open(t)
	b.do(chromedp.Navigate(serve(t, s.handler())))
	b.until(isLive)
	b.do(chromedp.Click(chromedp.CSS("ol.bad summary")), chromedp.SendKeys(chromedp.CSS("#q"), "orders-1"))
	before := eval[string](b, `document.getElementById("s0-instances").rows[5].id`)
	s.change(func() {
		s.fail(15)
		s.all[0].BadCalls = append(s.all[0].BadCalls[:1:1], s.all[0].BadCalls...)
		s.all[0].BadCalls[0].At = time.Now()
	})
	b.until(state("orders-16") + `.includes("failed")`)
	for what, want := range map[string]string{
		`String(document.querySelectorAll("ol.bad details[open]").length)`:                  "1",
		`String([...document.querySelectorAll("ol.bad details")].findIndex((d) => d.open))`: "1",
		`document.activeElement.id`:          "q",
		`document.getElementById("q").value`: "orders-1",
		`String([...document.getElementById("s0-instances").rows].filter((r) => !r.hidden).length)`:                 "11",
		`String(document.getElementById(` + fmt.Sprintf("%q", before) + `) != null)`:                                "true",
		`[...document.getElementById("s0-instances").rows].find((r) => !r.hidden).querySelector(".id").textContent`: "orders-16",
	} {
		if got := eval[string](b, what); got != want {
			t.Errorf("%s is %s: want %s", what, got, want)
		}
	}
}
