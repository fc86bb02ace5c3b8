package surecall_test

import (
	"testing"
	"time"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/surecalltest"
)

// A deadline for all methods is none of streams, and so takes none from them; that of a
// pattern does.
func TestPolicyStreamDeadline(t *testing.T) {
	bubble(t, func(t *testing.T) {
		owner, caller := newPaper(`{"deadline": "2s"}`), newPaper("")
		client := ready(t, surecalltest.NewCluster(t, 1), surecall.ForMethod("/orders.v1.Orders/W*", surecall.WithCallDeadline(time.Minute)),
			surecall.WithOwnerPolicy(owner), surecall.WithCallerPolicy(caller))
		want := func(what string, unary, stream time.Duration) {
			t.Helper()
			if u, s := surecall.Deadline(client, watchMethod), surecall.StreamDeadline(client, watchMethod); u != unary || s != stream {
				t.Errorf("%s: deadlines of %v, and of %v for streams: want %v and %v", what, u, s, unary, stream)
			}
		}
		want("for all", 2*time.Second, time.Minute)
		caller.says(`{"deadline": false}`)
		want("off for all", 0, time.Minute)
		caller.says(`{"methods": {"` + watchMethod + `": {"deadline": "30s"}}}`)
		want("for one", 30*time.Second, 30*time.Second)
		caller.says(`{"methods": {"/orders.v1.Orders/*": {"deadline": "20s"}}}`)
		want("for some", 20*time.Second, 20*time.Second)
		caller.says(`{"deadline": "3s"}`)
		owner.says(`{"methods": {"/orders.v1.Orders/*": {"deadline": false}}}`)
		want("off for some", 3*time.Second, 0)
		owner.says("{}")
		caller.says("{}")
		for range 3 { // one after the other, on top of each other
			for _, d := range []string{`{"deadline": "2s"}`, `{"methods": {"/orders.v1.Orders/W*": {"deadline": "40s"}}}`, `{"deadline": "4s"}`} {
				parsed, err := surecall.ParsePolicy([]byte(d))
				if err == nil {
					err = client.Update(parsed.Options()...)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			want("by code", 4*time.Second, 40*time.Second)
			if err := client.Update(surecall.WithDisabled(surecall.ProtectionCallDeadline)); err != nil {
				t.Fatal(err)
			}
			want("disabled", 0, 0)
			if err := client.Update(surecall.WithDisabled()); err != nil {
				t.Fatal(err)
			}
		}
	})
}
