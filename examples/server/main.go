// Command server is the orders service as a program to copy: it warms up, registers in
// Consul when it is ready, and leaves on SIGTERM without failing a call.
//
//	go run ./examples/server                           Consul's agent: CONSUL_HTTP_ADDR, else localhost:8500
//	go run ./examples/server -static                   registers nowhere
//	go run ./examples/client -target static:///127.0.0.1:50051
//
// A second one needs ports of its own: -listen 127.0.0.1:50052 -admin 127.0.0.1:9902.
// What there is to see while it runs:
//
//	curl 127.0.0.1:9901/readyz                         does it take calls?
//	curl -X POST 127.0.0.1:9901/online                 takes an offline back
//	server offline                                     leaves; returns once it has drained
//
// The log says at each step of starting and leaving what it waits for. The service itself
// is in service.go and store.go, what a warm-up needs in warmup.go.
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"

	"google.golang.org/grpc"

	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/discovery/consul"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/lifecycle"
)

// adminAddress is where the operator's endpoint is unless -admin says otherwise, and
// where "server offline" looks for it.
const adminAddress = "127.0.0.1:9901"

// config is what the flags say.
type config struct {
	service, id, zone string
	listen, advertise string
	admin             string
	weight            int
	static            bool
	replay, record    string
}

func main() {
	if done, code := lifecycle.OfflineCommand(os.Args[1:], adminAddress, os.Stderr); done {
		os.Exit(code)
	}
	var c config
	flag.StringVar(&c.listen, "listen", "127.0.0.1:50051", "address to listen on")
	flag.StringVar(&c.advertise, "advertise", "", "address that callers dial (default: the one it listens on)")
	flag.StringVar(&c.admin, "admin", adminAddress, "address of the operator's endpoint; empty: none")
	flag.StringVar(&c.service, "service", "orders", "name that callers look for")
	flag.StringVar(&c.id, "id", "", "name of this instance (default: the service and the address)")
	flag.IntVar(&c.weight, "weight", 1, "share of calls relative to the other instances")
	flag.StringVar(&c.zone, "zone", "", "where this instance runs")
	flag.BoolVar(&c.static, "static", false, "do not register in Consul")
	flag.StringVar(&c.replay, "replay", "", "file of recorded requests to warm up with")
	flag.StringVar(&c.record, "record", "", "file to write recorded requests to at the end")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "server: %q: want flags, or the command offline\n", flag.Arg(0))
		os.Exit(2)
	}
	if err := run(c, slog.New(slog.NewTextHandler(os.Stderr, nil))); err != nil {
		fmt.Fprintln(os.Stderr, "server:", err)
		os.Exit(1)
	}
}

// run returns when the server has left: no handler runs then.
func run(c config, log *slog.Logger) error {
	var registrars []discovery.Registrar
	if !c.static {
		registry, err := consul.New(consul.Config{Events: event.Slog(log)}) // of the CONSUL_* environment
		if err != nil {
			return err
		}
		defer func() { _ = registry.Close() }() // after Run has taken the registration out
		registrars = append(registrars, registry)
	}
	recorder, err := lifecycle.Record(lifecycle.RecordPolicy{})
	if err != nil {
		return err
	}

	l := lifecycle.New(lifecycle.Config{
		Service:    c.service,
		ID:         c.id,
		Listen:     c.listen,
		Address:    c.advertise,
		Weight:     c.weight,
		Zone:       c.zone,
		Registrars: registrars,
		// For TLS: Credentials, and surecall.WithTransportCredentials in the client.
		Steps:  warmUp(c.replay, log),
		Hooks:  writeRecording(c.record, recorder),
		Admin:  lifecycle.Admin{Address: c.admin},
		Logger: log,
	})
	srv := grpc.NewServer(append(l.ServerOptions(), grpc.ChainUnaryInterceptor(recorder.UnaryInterceptor()))...)
	orders.RegisterOrdersServer(srv, &service{
		store: newStore(),
		id:    func() string { return cmp.Or(c.id, c.service+"-"+l.Address()) },
	})
	return l.Run(context.Background(), srv)
}
