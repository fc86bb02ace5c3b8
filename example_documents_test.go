package surecall_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/retry"
)

// openConsul stands in for an agent of Consul with one key.
func openConsul(key, value string) *httptest.Server {
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Has("index") { // nothing changes
			<-r.Context().Done()
			return
		}
		w.Header().Set("X-Consul-Index", "7")
		if r.URL.Path == "/v1/kv/"+key {
			_ = json.NewEncoder(w).Encode([]map[string]any{{"Key": key, "Value": []byte(value)}})
			return
		}
		fmt.Fprint(w, "[]")
	}))
}

// The owner of the service has put into the key surecall/orders what all callers shall obey:
//
//	consul kv put surecall/orders @orders.json
func ExampleWithPolicyDocuments() {
	agent := openConsul("surecall/orders", `{"methods": {"/orders.v1.Orders/Get*": {"deadline": "800ms", "hedge": {}}}}`)
	defer agent.Close()

	obeyed := make(chan string, 1)
	client, err := surecall.NewClient("consul://"+strings.TrimPrefix(agent.URL, "http://")+"/orders", surecall.WithInsecure(),
		surecall.WithPolicyDocuments(),
		surecall.WithEvents(func(e event.Event) {
			if e, ok := e.(event.PolicyApplied); ok {
				obeyed <- e.Layer
			}
		}))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	fmt.Println(<-obeyed)
	for _, layer := range client.Policies() {
		fmt.Println(layer.Layer, layer.Sets)
	}
	// Output:
	// owner
	// code []
	// owner [methods."/orders.v1.Orders/Get*".deadline methods."/orders.v1.Orders/Get*".hedge]
}

// Operators turn a knob of a running program: they edit a file.
func ExamplePolicyFile() {
	dir, err := os.MkdirTemp("", "policy")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "orders.json")
	if err := os.WriteFile(path, []byte(`{"deadline": "50ms"}`), 0o600); err != nil {
		fmt.Println(err)
		return
	}

	target, closeAll := openShops(&shop{slow: true})
	defer closeAll()
	client, err := surecall.NewClient(target, surecall.WithInsecure(), surecall.WithCallerPolicy(surecall.PolicyFile(path)))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	if err := client.WaitReady(context.Background()); err != nil { // the document is there, too
		fmt.Println(err)
		return
	}

	_, err = orders.NewOrdersClient(client).Get(context.Background(), &orders.GetRequest{Id: "7"})
	fmt.Println(status.Code(err))
	// Output: DeadlineExceeded
}

// A document that is checked before it is published cannot be refused later for how it reads.
func ExampleParsePolicy() {
	_, err := surecall.ParsePolicy([]byte(`{
  "deadline": "2 seconds",
  "methods": {
    "/orders.v1.Orders/Get": {"hegde": {"delay": "50ms"}}
  }
}`))
	for line := range strings.Lines(err.Error()) {
		fmt.Printf("%.120s\n", strings.TrimSpace(line))
	}
	// Output:
	// surecall: policy document: deadline: line 2: "2 seconds": want a duration from "0s" to "720h0m0s", such as "250ms"
	// methods."/orders.v1.Orders/Get"."hegde": line 4: unknown key: did you mean "hedge"? Known are deadline, attempt_timeout,
}

// A program that publishes its own document can write it in Go.
func ExamplePolicyDocument() {
	document := surecall.PolicyDocument{
		Comment: "reads are hedged",
		Methods: map[string]surecall.MethodPolicies{
			"/orders.v1.Orders/Get*": {
				Deadline: surecall.Set(800 * time.Millisecond),
				Hedge:    surecall.Set(retry.Hedge{Delay: 50 * time.Millisecond}),
				Cache:    surecall.Off[surecall.CachePolicy](),
			},
		},
	}
	fmt.Println(document)
	// Output:
	// {
	//   "comment": "reads are hedged",
	//   "methods": {
	//     "/orders.v1.Orders/Get*": {
	//       "deadline": "800ms",
	//       "hedge": {
	//         "delay": "50ms"
	//       },
	//       "cache": false
	//     }
	//   }
	// }
}

// In a test environment, a request says by what policies it is served.
func ExampleWithPolicyHeader() {
	target, closeAll := openShops(&shop{slow: true})
	defer closeAll()
	client, err := surecall.NewClient(target, surecall.WithInsecure(), surecall.WithPolicyHeader("x-surecall-policy"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	ctx := metadata.AppendToOutgoingContext(context.Background(), "x-surecall-policy", `{"deadline": "50ms", "retry": false}`)
	_, err = orders.NewOrdersClient(client).Get(ctx, &orders.GetRequest{Id: "7"})
	fmt.Println(status.Code(err))
	// Output: DeadlineExceeded
}
