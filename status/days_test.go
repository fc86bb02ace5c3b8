package status_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/surecall/surecall/status"
)

// What happened on another day has its date, also on a page that is open over midnight, and
// whatever zone the moments are in.
func TestPastDaysHaveTheirDate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // a bubble begins at midnight UTC
		late := time.Now().Add(23*time.Hour + 59*time.Minute)
		time.Sleep(time.Until(late))
		tokyo := time.FixedZone("Tokyo", 9*3600)
		s := open(t, status.Status{
			Service:  "orders",
			Events:   []status.Event{{At: late.In(tokyo), Text: "tonight"}, {At: late.Add(-48 * time.Hour), Text: "before"}},
			BadCalls: []status.BadCall{{At: late.In(tokyo), Method: "/a/Tonight"}, {At: late.Add(-48 * time.Hour), Method: "/a/Before"}},
		})
		r := s.follow()
		r.news()
		says := func(want ...string) {
			t.Helper()
			shown := text(strings.ReplaceAll(r.shows(), "</time>", "|"))
			for _, w := range want {
				if !strings.Contains(shown, w) {
					t.Errorf("does not say %q: %s", w, shown)
				}
			}
		}
		says(" 23:59:00| tonight", " 30 Dec 23:59:00| before", " 23:59:00| a/Tonight", " 30 Dec 23:59:00| a/Before")
		for range 61 {
			r.news()
		}
		says(" 1 Jan 23:59:00| tonight", " 30 Dec 23:59:00| before", " 1 Jan 23:59:00| a/Tonight", " 30 Dec 23:59:00| a/Before")
	})
}
