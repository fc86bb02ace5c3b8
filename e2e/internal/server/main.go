// Command server is the instance that the end-to-end tests start, stop and kill: it
// serves orders.v1.Orders and keeps itself registered in Consul.
//
// It prints "serving ADDRESS ADMIN" when it accepts calls and "registered" when Consul
// knows it. ADMIN is an HTTP address on loopback:
//
//	POST /health?state=critical   what the next heart-beat reports
//	POST /weight?weight=3         registers again with this weight
//	POST /deregister              leaves Consul and goes on serving
//	POST /add?id=ID&counters=FILE starts a further instance in this process; answers its address
//	POST /remove?id=ID            ends one that was added, as SIGTERM would
//
// SIGTERM ends the process in order. How an instance comes and goes is in instance.go.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// config is what the flags say. It holds for every instance of the process.
type config struct {
	address, agent, token, service, incarnation string
	weight                                      int
	ttl                                         time.Duration
	behaviour                                   behaviour
	healthAuth                                  bool
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "server:", err)
		os.Exit(1)
	}
}

func run() error {
	var c config
	flag.StringVar(&c.address, "address", "127.0.0.1:0", "where to serve")
	flag.StringVar(&c.agent, "consul", "", "host:port of the Consul agent")
	flag.StringVar(&c.token, "token", "", "ACL token to register with")
	flag.StringVar(&c.service, "service", "orders", "name to register")
	flag.StringVar(&c.incarnation, "incarnation", "", "nonce of this life")
	flag.IntVar(&c.weight, "weight", 1, "weight to register")
	flag.DurationVar(&c.ttl, "ttl", 3*time.Second, "TTL of the check")
	flag.BoolVar(&c.healthAuth, "health-auth", false, "reject health checks as unauthenticated")
	flag.DurationVar(&c.behaviour.delay, "delay", 2*time.Millisecond, "how long a unary call takes")
	flag.DurationVar(&c.behaviour.stream, "stream", time.Second, "how long a stream takes")
	flag.IntVar(&c.behaviour.messages, "messages", 5, "how many messages a stream has")
	flag.StringVar(&c.behaviour.fail, "fail", "", "always or half: calls answered UNAVAILABLE")
	id := flag.String("id", "", "ID to register")
	counters := flag.String("counters", "", "file to count calls in")
	flag.Parse()

	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	first, err := serve(c, *id, *counters)
	if err != nil {
		return err
	}
	h := &host{config: c, first: first, added: map[string]*instance{}}
	admin, err := h.listen()
	if err != nil {
		return err
	}
	fmt.Println("serving", first.address(), admin)
	if err := first.register(context.Background()); err != nil {
		return err
	}
	fmt.Println("registered")
	select {
	case err := <-first.served:
		return err
	case <-term:
	}
	return h.leave()
}
