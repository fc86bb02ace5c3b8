package consul_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/discovery/consul"
)

// agent stands for a Consul agent that knows one instance of "orders".
func agent() *httptest.Server {
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Has("index") {
			<-r.Context().Done() // nothing changes
			return
		}
		w.Header().Set("X-Consul-Index", "42")
		fmt.Fprint(w, `[{"Node": {"Address": "10.0.0.7"},
			"Service": {"ID": "orders-1", "Service": "orders", "Port": 50051, "Weights": {"Passing": 10, "Warning": 1}},
			"Checks": [{"CheckID": "serfHealth", "Status": "passing"}]}]`)
	}))
}

func ExampleSource_Watch() {
	server := agent()
	defer server.Close()
	source, err := consul.New(consul.Config{Address: server.URL})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer source.Close()

	ctx, cancel := context.WithCancel(context.Background())
	err = source.Watch(ctx, discovery.Query{Service: "orders"}, func(s discovery.Snapshot) {
		for _, i := range s.Instances {
			fmt.Println(i.ID, i.Address, "weight", i.Weight)
		}
		cancel()
	})
	fmt.Println(err)
	// Output:
	// orders-1 10.0.0.7:50051 weight 10
	// context canceled
}

func ExampleSource_Client() {
	server := agent()
	defer server.Close()
	source, err := consul.New(consul.Config{Address: server.URL})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer source.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	entries, meta, err := source.Client().Health().Service("orders", "", false, (&api.QueryOptions{}).WithContext(ctx))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(entries[0].Node.Address, entries[0].Checks.AggregatedStatus(), meta.LastIndex)
	// Output: 10.0.0.7 passing 42
}

func ExampleSource_Explain() {
	server := agent()
	defer server.Close()
	source, err := consul.New(consul.Config{Address: server.URL})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer source.Close()
	fmt.Println(source.Explain(context.Background(), discovery.Query{Service: "orders", Tags: []string{"v2"}}))
	// Output: Consul has 1, none with the tags [v2]
}

func ExampleShared() {
	a, err := consul.Shared(consul.Config{Address: "localhost:8500"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer a.Close() // gives up a's share; b goes on
	b, err := consul.Shared(consul.Config{Address: "localhost:8500"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer b.Close()
	fmt.Println(a, "and", b)
	// Output: consul at localhost:8500 and consul at localhost:8500
}

func ExampleParseTarget() {
	u, _ := url.Parse("consul://10.0.0.1:8500/orders?tag=v2&dc=eu&wait=30s&token=secret")
	config, query, err := consul.ParseTarget(u)
	fmt.Println(config)
	fmt.Println(query.Service, query.Tags, query.Datacenter, err)

	u, _ = url.Parse("consul:///orders?dc=eu,us,ap")
	_, query, err = consul.ParseTarget(u)
	fmt.Println(query.Datacenter, "then", query.Failover, err)

	u, _ = url.Parse("consul:///orders?prepared-query=orders-nearest&refresh=5s")
	config, query, err = consul.ParseTarget(u)
	fmt.Println(query.Service, "from", query.Prepared, "each", config.Refresh, err)

	u, _ = url.Parse("consul:///orders?wait=soon&health=sick")
	_, _, err = consul.ParseTarget(u)
	fmt.Println(err)
	// Output:
	// consul.Config{Address: "10.0.0.1:8500", Token: (set), WaitTime: 30s}
	// orders [v2] eu <nil>
	// eu then [us ap] <nil>
	// orders from orders-nearest each 5s <nil>
	// discovery/consul: target: health "sick": want healthy or fallbackToUnhealthy
	// discovery/consul: target: wait "soon": want a duration from 1s to 10m
}

func ExampleSource_Register() {
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		fmt.Println(r.Method, r.URL.Path)
	}))
	defer server.Close()
	source, err := consul.New(consul.Config{Address: server.URL})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer source.Close()

	lease, err := source.Register(context.Background(), discovery.Registration{
		Instance: discovery.Instance{ID: "orders-1", Service: "orders", Address: "10.0.0.7:50051"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(lease.Release(context.Background()))
	// Output:
	// PUT /v1/agent/service/register
	// PUT /v1/agent/check/update/surecall:orders-1
	// PUT /v1/agent/service/deregister/orders-1
	// <nil>
}
