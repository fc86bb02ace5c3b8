package consul

import (
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/surecall/surecall/discovery"
)

func TestParseTarget(t *testing.T) {
	tests := []struct {
		target string
		config Config
		query  discovery.Query
	}{
		{"consul:///orders", Config{}, discovery.Query{Service: "orders"}},
		{"consul:orders", Config{}, discovery.Query{Service: "orders"}},
		{"consul://10.0.0.1:8500/orders/", Config{Address: "10.0.0.1:8500"}, discovery.Query{Service: "orders"}},
		{"consul://joe:pw@[::1]:8500/orders", Config{Address: "[::1]:8500", Username: "joe", Password: "pw"}, discovery.Query{Service: "orders"}},
		{"consul:///orders?tag=a&tag=b&tags=c,d", Config{}, discovery.Query{Service: "orders", Tags: []string{"a", "b", "c", "d"}}},
		{"consul:///orders?healthy=true", Config{}, discovery.Query{Service: "orders", Accept: discovery.AcceptPassing}},
		{"consul:///orders?healthy=false", Config{}, discovery.Query{Service: "orders", Accept: discovery.AcceptAny}},
		{"consul:///orders?Health=Healthy", Config{}, discovery.Query{Service: "orders", Accept: discovery.AcceptUsable}},
		{"consul:///orders?health=fallbackToUnhealthy", Config{}, discovery.Query{Service: "orders", Accept: discovery.AcceptPrefer}},
		{"consul:///orders?dc=eu&ns=n&partition=p&peer=q&near=_agent&port=grpc&address=wan", Config{}, discovery.Query{
			Service: "orders", Datacenter: "eu", Namespace: "n", Partition: "p", Peer: "q", Near: "_agent", Port: "grpc", TaggedAddress: "wan"}},
		{"consul:///orders?dc=eu,us,%20ap", Config{}, discovery.Query{Service: "orders", Datacenter: "eu", Failover: []string{"us", "ap"}}},
		{"consul:///orders?prepared-query=near&dc=eu&near=_agent&healthy=true", Config{}, discovery.Query{
			Service: "orders", Prepared: "near", Datacenter: "eu", Near: "_agent", Accept: discovery.AcceptPassing}},
		{"consul:///orders?refresh=30s&prepared-query=near", Config{Refresh: 30 * time.Second}, discovery.Query{Service: "orders", Prepared: "near"}},
		{"consul:///orders?wait=30s&scheme=https&token=s&insecure=true&server-name=x&filter=a%3D%3Db", Config{
			WaitTime: 30 * time.Second, Scheme: "https", Token: "s", TLS: api.TLSConfig{Address: "x", InsecureSkipVerify: true},
		}, discovery.Query{Service: "orders", Filter: "a==b"}},
		{"consul:///orders?limit=3&timeout=60s&max-backoff=1s&allow-stale=true&require-consistent=1&refresh=5s", Config{}, discovery.Query{Service: "orders"}},
	}
	for _, tt := range tests {
		u, err := url.Parse(tt.target)
		if err != nil {
			t.Fatal(err)
		}
		config, query, err := ParseTarget(u)
		if err != nil || !reflect.DeepEqual(config, tt.config) || !reflect.DeepEqual(query, tt.query) {
			t.Errorf("%s:\n%#v %+v %v\nwant\n%#v %+v", tt.target, config, query, err, tt.config, tt.query)
		}
	}
}

func TestParseTargetErrors(t *testing.T) {
	tests := []struct {
		target string
		want   []string // all of them, at once
	}{
		{"consul:///", []string{"service is missing"}},
		{"consul://orders", []string{"consul:///orders"}},
		{"consul:///orders?nera=_agent", []string{`"nera" is unknown`, "near", "wait"}},
		{"consul:///orders?wait=1", []string{`wait "1"`, "from 1s to 10m"}},
		{"consul:///orders?wait=1h", []string{`wait "1h"`}},
		{"consul:///orders?healthy=maybe&limit=-1&timeout=x&scheme=ftp&allow-stale=2&tags=a,,b", []string{"healthy", "limit", "timeout", "scheme", "allow-stale", "tags"}},
		{"consul:///orders?health=sick", []string{`health "sick"`, "fallbackToUnhealthy"}},
		{"consul:///orders?health=healthy&healthy=true", []string{"health is given too"}},
		{"consul:///orders?near=a&Near=b", []string{"near is given 2 times"}},
		{"consul:///orders?dc=", []string{`dc ""`}},
		{"consul:///orders?dc=eu,", []string{`dc "eu,"`, "each once"}},
		{"consul:///orders?dc=eu,us,EU", []string{`dc "eu,us,EU"`, "each once"}},
		{"consul:///orders?dc=eu&dc=us", []string{"dc is given 2 times"}},
		{"consul:///orders?dc=eu,us&peer=p", []string{"dc names 2 datacenters", `peer "p"`}},
		{"consul:///orders?prepared-query=", []string{`prepared-query ""`}},
		{"consul:///orders?prepared-query=near&refresh=500ms", []string{"Refresh 500ms: want 0 (means 10s) or 1s to 10m0s"}},
		{"consul:///orders?prepared-query=near&refresh=0s", []string{"refresh 0s"}},
		{"consul:///orders?refresh=-1s", []string{`refresh "-1s"`}},
		{"consul:///orders?prepared-query=near&dc=eu,us&tag=v2&peer=p", []string{`dc: second to last ["us"] with the prepared query "near"`, `tag ["v2"]`, `peer "p"`}},
		{"consul:///orders?a;b", []string{"key=value"}},
		{"consul://h:99999/orders", []string{"99999"}},
	}
	for _, tt := range tests {
		u, err := url.Parse(tt.target)
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = ParseTarget(u)
		for _, want := range tt.want {
			if !strings.Contains(text(err), want) {
				t.Errorf("%s: %v\nwant %q in it", tt.target, err, want)
			}
		}
	}
}

func TestParametersAreSorted(t *testing.T) {
	if !slices.IsSortedFunc(parameters, func(a, b parameter) int { return strings.Compare(a.name, b.name) }) {
		t.Error("an unknown key's error lists the known ones: want them sorted")
	}
}

func FuzzParseTarget(f *testing.F) {
	f.Add("user:pass@host:8500", "/orders", "tag=a&tags=b,c&healthy=true&wait=30s&")
	f.Add("", "", "nera=%zz&token=x&wait=9999h&TOKEN=x&")
	f.Fuzz(func(t *testing.T, authority, path, query string) {
		const secret = "verysecret"
		u, err := url.Parse("consul://" + authority + path + "?" + query + "token=" + secret)
		if err != nil || strings.Contains(authority+path+query, secret) || !strings.Contains(u.RawQuery, "token="+secret) {
			return
		}
		c, q, err := ParseTarget(u)
		if _, ok := u.Query()["token"]; ok && strings.Contains(text(err)+c.String(), secret) {
			t.Errorf("the token is shown: %v, %v", err, c)
		}
		if err != nil {
			return
		}
		if q.Service == "" || strings.HasSuffix(q.Service, "/") {
			t.Errorf("service %q", q.Service)
		}
		if err := c.Validate(); err != nil {
			t.Errorf("accepted, but %v", err)
		}
	})
}
