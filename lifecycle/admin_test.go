package lifecycle_test

import (
	"net/http"
	"testing"

	"github.com/surecall/surecall/lifecycle"
)

// What the configuration allows at the admin endpoint, and nothing else, is allowed.
func TestAdminOptions(t *testing.T) {
	for _, tc := range []struct {
		name             string
		allowed          lifecycle.Admin
		offline, rebound int // the answers to GET /offline, and to a POST under a name
	}{
		{"default", lifecycle.Admin{}, http.StatusMethodNotAllowed, http.StatusForbidden},
		{"GetOffline", lifecycle.Admin{GetOffline: true}, http.StatusOK, http.StatusForbidden},
		{"Hosts", lifecycle.Admin{Hosts: []string{"orders.internal"}}, http.StatusMethodNotAllowed, http.StatusOK},
	} {
		t.Run(tc.name, func(t *testing.T) {
			life, server := onLoopback(t, func(c *lifecycle.Config) {
				c.Admin = tc.allowed
				c.Admin.Address = ":0"
			})
			if err := life.Start(t.Context(), server); err != nil {
				t.Fatal(err)
			}
			ask := func(method, path, host string) int {
				r, err := http.NewRequestWithContext(t.Context(), method, "http://"+life.AdminAddress()+path, http.NoBody)
				if err != nil {
					t.Fatal(err)
				}
				r.Host = host
				answer, err := http.DefaultClient.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				_ = answer.Body.Close()
				return answer.StatusCode
			}
			if got := ask(http.MethodGet, "/offline", ""); got != tc.offline {
				t.Errorf("GET /offline: %d, want %d", got, tc.offline)
			}
			if got := ask(http.MethodPost, "/online", "orders.internal:9901"); got != tc.rebound {
				t.Errorf("POST under a name: %d, want %d", got, tc.rebound)
			}
			if got := ask(http.MethodPost, "/online", "elsewhere.example"); got != http.StatusForbidden {
				t.Errorf("POST under another name: %d", got)
			}
			if err := life.Stop(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}
