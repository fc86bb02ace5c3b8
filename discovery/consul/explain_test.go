package consul

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/surecall/surecall/discovery"
)

func TestExplain(t *testing.T) {
	const (
		passing  = `{"Service": {"Tags": ["v1"], "Address": "10.0.0.1", "Port": 1}, "Checks": [{"CheckID": "s", "Status": "passing", "Output": "fine"}]}`
		expired  = `{"Service": {"Tags": ["V1"]}, "Checks": [{"CheckID": "s", "Status": "passing"}, {"CheckID": "t", "Status": "critical", "Output": "TTL\n  expired"}]}`
		maint    = `{"Service": {}, "Checks": [{"CheckID": "_service_maintenance:x", "Status": "critical", "Notes": "disk swap"}]}`
		unusable = `{"Service": {"ID": "x", "Address": "10.0.0.1"}}`
	)
	tests := []struct {
		name    string
		query   discovery.Query
		headers map[string]string
		status  int
		body    string
		want    string
	}{
		{"critical", web, nil, 200, "[" + expired + "]", "Consul has 1, critical: TTL expired"},
		{"several", web, nil, 200, "[" + maint + "," + expired + "," + expired + "]", "Consul has 3: 1 maintenance, 2 critical: disk swap"},
		{"tags", discovery.Query{Service: "web", Tags: []string{"v2"}}, nil, 200, "[" + passing + "]", "Consul has 1, none with the tags [v2]"},
		{"tags in any case", discovery.Query{Service: "web", Tags: []string{"v1"}}, nil, 200, "[" + expired + "," + maint + "]", "Consul has 1, critical: TTL expired"},
		{"usable", web, nil, 200, "[" + passing + "]", "Consul has 1, passing"},
		{"unusable", web, nil, 200, "[" + unusable + "]", `Consul has 1, passing: x: address "10.0.0.1:0": port "0": want 1 to 65535: skipped`},
		{"unknown", discovery.Query{Service: "web", Datacenter: "dc2"}, nil, 200, "[]", `Consul knows no service "web" in datacenter "dc2"`},
		{"filter", discovery.Query{Service: "web", Filter: "x"}, nil, 200, "[]", `Consul has none of service "web" that matches the filter`},
		{"ACLs", web, map[string]string{"X-Consul-Results-Filtered-By-ACLs": "true"}, 200, "[]", "Consul hides the instances: the token may lack service:read or node:read"},
		{"no token", web, map[string]string{"X-Consul-Default-ACL-Policy": "deny"}, 200, "[]", `Consul shows no service "web": no token is set and its policy is to deny`},
		{"refused", web, nil, 403, "ACL not found", "Consul answers 403: ACL not found"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				f := newFakeAgent(t, func(w http.ResponseWriter, _ *http.Request) {
					for k, v := range tt.headers {
						w.Header().Set(k, v)
					}
					w.Header().Set("X-Consul-LastContact", "0")
					w.WriteHeader(tt.status)
					_, _ = w.Write([]byte(tt.body))
				})
				if got := f.source(Config{}).Explain(t.Context(), tt.query); got != tt.want {
					t.Errorf("%s\nwant %s", got, tt.want)
				}
				if n := len(f.requests()); n != 1 {
					t.Errorf("%d reads, want 1", n)
				}
			})
		})
	}
}

func TestExplainUnreachable(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFakeAgent(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		start := time.Now()
		got := f.source(Config{}).Explain(context.Background(), web)
		if !strings.HasPrefix(got, "Consul is unreachable: agent consul.test:8500 gives no answer") || time.Since(start) > 3*time.Second {
			t.Errorf("%s after %v", got, time.Since(start))
		}
	})
}

// What a source cannot watch it cannot explain either, and both say why.
func TestFailoverIsRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFakeAgent(t, newRegistry(10).ServeHTTP)
		s := f.source(Config{})
		q := discovery.Query{Service: "web", Datacenter: "eu", Failover: []string{"us"}}
		const want = `Failover ["us"]: a source watches one datacenter at a time`
		if err := s.Watch(t.Context(), q, nil); !strings.Contains(text(err), want) {
			t.Errorf("Watch: %v", err)
		}
		if got := s.Explain(t.Context(), q); !strings.Contains(got, want) {
			t.Errorf("Explain: %s", got)
		}
		if _, ok := s.Answered(q); ok || len(f.requests()) > 0 {
			t.Error("it was asked for")
		}
	})
}
