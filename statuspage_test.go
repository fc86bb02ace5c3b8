package surecall_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/status"
	"github.com/surecall/surecall/surecalltest"
)

// A page outlives its clients, and tells two of one service apart.
func TestStatusPageOfClosedClients(t *testing.T) {
	cluster := surecalltest.NewCluster(t, 2)
	one, other := cluster.Client(), cluster.Client()
	for _, c := range []*surecall.Client{one, other} {
		if err := c.WaitReady(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := one.Close(); err != nil {
		t.Fatal(err)
	}
	h := surecall.StatusHandler(one, other)
	get := func(path string) string {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://localhost"+path, nil))
		if w.Code != http.StatusOK {
			t.Errorf("%s: %d: %s", path, w.Code, w.Body)
		}
		return w.Body.String()
	}
	page := get("/")
	for _, want := range []string{`<section class="service" id="s0"`, `<section class="service" id="s1"`, "idle or closed", "of 2 eligible"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say %q: %s", want, page)
		}
	}
	var all struct{ Clients []status.Status }
	if err := json.Unmarshal([]byte(get("/status.json")), &all); err != nil || len(all.Clients) != 2 || len(all.Clients[0].Instances) != 0 || len(all.Clients[1].Instances) != 2 {
		t.Errorf("%v, %+v", err, all)
	}
	if metrics := get("/metrics"); !strings.Contains(metrics, `{surecall_service="orders",surecall_client="2"`) {
		t.Errorf("the second client of a service is not told apart: %s", metrics)
	}
}

func TestStatusPageOfNoClient(t *testing.T) {
	w := httptest.NewRecorder()
	surecall.StatusHandler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://localhost/", nil))
	if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "made for no client") {
		t.Errorf("%d: %s", w.Code, w.Body)
	}
}
