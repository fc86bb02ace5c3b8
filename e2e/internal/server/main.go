// Command server is the instance that the end-to-end tests start, stop and kill: it
// serves orders.v1.Orders on package lifecycle, and Consul is its registry.
//
// It prints "serving ADDRESS CONTROL" when it accepts calls and "registered" when Consul
// knows it. CONTROL is an HTTP address:
//
//	POST /health?state=critical   what the next heart-beat reports
//	POST /weight?weight=3         registers again with this weight
//	POST /deregister              leaves Consul and goes on serving
//	POST /offline                 the life's own POST /offline; answers what offline in control.go says
//	POST /online                  the life's own POST /online
//	POST /add?id=ID&counters=FILE starts a further instance in this process; answers its address
//	POST /remove?id=ID            ends one that was added, as SIGTERM would
//
// SIGTERM ends the process in order.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/surecall/surecall/lifecycle"
)

// config is what the flags say. It holds for every instance of the process.
type config struct {
	address, control, agent, token, service string
	weight                                  int
	ttl                                     time.Duration
	drain                                   lifecycle.Drain
	behaviour                               behaviour
	warmUp, healthAuth                      bool
	killAt                                  string
	killAfter                               time.Duration
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
	flag.StringVar(&c.control, "control", "127.0.0.1:0", "where the tests tell it what to do")
	flag.StringVar(&c.agent, "consul", "", "host:port of the Consul agent")
	flag.StringVar(&c.token, "token", "", "ACL token to register with")
	flag.StringVar(&c.service, "service", "orders", "name to register")
	flag.IntVar(&c.weight, "weight", 1, "weight to register")
	flag.DurationVar(&c.ttl, "ttl", 3*time.Second, "TTL of the check")
	flag.DurationVar(&c.drain.Propagation, "propagation", 0, "how long to serve on when leaving; 0 means the default")
	flag.BoolVar(&c.healthAuth, "health-auth", false, "reject health checks as unauthenticated")
	flag.DurationVar(&c.behaviour.delay, "delay", 2*time.Millisecond, "how long a unary call takes")
	flag.DurationVar(&c.behaviour.stream, "stream", time.Second, "how long a stream takes")
	flag.IntVar(&c.behaviour.messages, "messages", 5, "how many messages a stream has")
	flag.StringVar(&c.behaviour.fail, "fail", "", "always or half: calls answered UNAVAILABLE")
	flag.DurationVar(&c.behaviour.cold, "cold", 0, "how long after its start every answer takes 0.8 s more")
	flag.BoolVar(&c.warmUp, "warm-up", false, "register only when calls to itself are fast")
	flag.StringVar(&c.killAt, "kill-at", "", "the line of the lifecycle's log at which the process kills itself")
	flag.DurationVar(&c.killAfter, "kill-after", 0, "how long after that line")
	id := flag.String("id", "", "ID to register")
	counters := flag.String("counters", "", "file to count calls in")
	flag.Parse()

	h := &host{config: c, added: map[string]*instance{}}
	lis, err := h.listen()
	if err != nil {
		return err
	}
	h.first, err = newInstance(c, *id, *counters, func(i *instance) {
		fmt.Println("serving", i.life.Address(), lis.Addr())
		go h.serve(lis) // ends with the process
	})
	if err != nil {
		return err
	}
	go func() {
		<-h.first.registrar.made
		fmt.Println("registered")
	}()
	go func() {
		<-h.first.life.Done()
		h.leave()
	}()
	err = h.first.life.Run(context.Background(), h.first.server)
	h.leave()
	return err
}
