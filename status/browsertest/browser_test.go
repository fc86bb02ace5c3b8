package browsertest

import (
	"context"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// browser is a tab of a real Chromium.
type browser struct {
	context.Context
	t *testing.T
}

// open starts a Chromium, which ends with the test. The test fails if it complains of
// anything: an error of the script, a violation of the CSP, what could not be loaded.
func open(t *testing.T) *browser {
	t.Helper()
	// The browser ends with the test's context, before the servers do, which it would miss.
	// Root has no sandbox, and on a busy machine Chromium takes its time to start.
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(chromium(t)), chromedp.NoSandbox, chromedp.WSURLReadTimeout(2*time.Minute))...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	b := &browser{ctx, t}
	b.do(chromedp.EmulateViewport(1360, 900))
	complaints := chromedp.Console(ctx)
	listening := make(chan struct{})
	go func() {
		defer close(listening)
		for m, err := range complaints {
			if err != nil {
				return
			}
			t.Errorf("the browser complains: %s (%s)", m, m.URL)
		}
	}()
	t.Cleanup(func() {
		if err := chromedp.Cancel(ctx); err != nil {
			t.Logf("closing the browser: %v", err)
		}
		<-listening
	})
	return b
}

// chromium is the path of the browser.
func chromium(t *testing.T) string {
	t.Helper()
	if path := os.Getenv("CHROMIUM_BIN"); path != "" {
		return path
	}
	path, err := exec.LookPath("chromium")
	if err != nil && os.Getenv("SURECALL_REQUIRE_CHROMIUM") == "" {
		t.Skip("no chromium: scripts/chromium.sh installs it")
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// do runs actions, which must succeed within a minute.
func (b *browser) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if chromedp.FromContext(b) == nil || chromedp.FromContext(b).Target == nil {
		// The first use starts the browser, which then lives as long as its context.
		if err := chromedp.Do(b); err != nil {
			b.t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(b, time.Minute)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		b.t.Fatal(err)
	}
}

// eval returns what an expression is in the page. A promise is waited for.
func eval[T any](b *browser, expression string) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b, time.Minute)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("%v, of %s", err, expression)
	}
	return v
}

// until waits until an expression is true in the page, and returns the time of the page's
// clock then.
func (b *browser) until(expression string) time.Time {
	b.t.Helper()
	return b.watch(expression)()
}

// watch begins to wait as until does. What it returns waits for the end.
func (b *browser) watch(expression string) func() time.Time {
	b.t.Helper()
	eval[bool](b, `(window.watched = new Promise((found, lost) => {
		const is = () => { const v = (`+expression+`); if (v) found(performance.timeOrigin + performance.now()); return v; };
		if (is()) return;
		const o = new MutationObserver(() => { if (is()) o.disconnect(); });
		o.observe(document, {subtree: true, childList: true, characterData: true, attributes: true});
		setTimeout(() => lost(new Error("not within 30 s")), 30000);
	})) != null`)
	return func() time.Time {
		b.t.Helper()
		return time.UnixMicro(int64(eval[float64](b, `window.watched`) * 1000))
	}
}

// prefer makes the page dark or light.
func (b *browser) prefer(scheme string) {
	b.t.Helper()
	if _, err := chromedp.Call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	}); err != nil {
		b.t.Fatal(err)
	}
}
