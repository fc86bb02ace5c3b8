// Command rolling-deploy replaces every server of a service, three times over, while
// clients call it, and shows what the callers noticed:
//
//	go run ./examples/rolling-deploy
//
// Five server processes run on package lifecycle. Four surecall clients and one plain
// gRPC client with round_robin make calls of an idempotent method, of one that is not,
// and streams. In rounds 1 and 3 each server is replaced by one on a new port, which is
// online before the old one gets SIGTERM, and while that drains the next one starts: as
// Kubernetes does with maxSurge 1 and maxUnavailable 0. In round 2 each server is stopped,
// awaited, and started again on its port. How long a server may take to leave is
// lifecycle's default; -propagation changes the longest part of it.
//
// The registry is one in this process, unless -consul names an agent. With -json, calls,
// failed, streams_broken and slowest_ms are those of the surecall clients. The exit status
// tells whether anything failed, be it the plain client's.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"
)

// service is the name that the servers are registered under.
const service = "orders"

const (
	sureClients = 4
	lead        = time.Second            // of calls before the first round, and after the last
	settle      = 500 * time.Millisecond // from a new server's start to the next replacement
)

// config is what the flags say.
type config struct {
	consul      string
	servers     int
	rounds      int
	rate        int
	propagation time.Duration
	json        bool
	child       child
}

func main() {
	var c config
	flag.StringVar(&c.consul, "consul", "", "host:port of a Consul agent to use as the registry")
	flag.IntVar(&c.servers, "servers", 5, "how many servers, 2 to 20")
	flag.IntVar(&c.rounds, "rounds", 3, "how often each is replaced, 1 to 20: on new ports, and on the same in each second round")
	flag.IntVar(&c.rate, "rate", 200, "calls a second of each client, 20 to 5000")
	flag.DurationVar(&c.propagation, "propagation", 2*time.Second, "how long a leaving server serves on as before")
	flag.BoolVar(&c.json, "json", false, "print one JSON object and nothing else")
	flag.StringVar(&c.child.id, "serve", "", "used by the program itself: be the server of this ID")
	flag.StringVar(&c.child.listen, "listen", "", "used by the program itself: where to serve")
	flag.StringVar(&c.child.registry, "registry", "", "used by the program itself: where to register")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, c); err != nil {
		fmt.Fprintln(os.Stderr, "rolling-deploy:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, c config) error {
	if c.child.id != "" {
		return serve(ctx, c)
	}
	for _, f := range []struct {
		name               string
		value, least, most int
	}{
		{"servers", c.servers, 2, 20},
		{"rounds", c.rounds, 1, 20},
		{"rate", c.rate, 20, 5000},
	} {
		if f.value < f.least || f.value > f.most {
			return fmt.Errorf("-%s %d: want %d to %d", f.name, f.value, f.least, f.most)
		}
	}
	if c.propagation <= 0 {
		return fmt.Errorf("-propagation %v: want more than 0", c.propagation)
	}
	return show(ctx, c)
}

// show is the whole show, from the first server to the last line.
func show(ctx context.Context, c config) (err error) {
	f, err := newFleet(c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	if err := f.startAll(ctx); err != nil {
		return err
	}
	clients, err := newClients(ctx, f)
	if err != nil {
		return err
	}
	defer clients.close()

	var out io.Writer = os.Stdout
	if c.json {
		out = io.Discard
	}
	screen := newScreen(out, clients)
	screen.opening(f)
	start := time.Now()
	loads, end := context.WithCancel(ctx)
	defer end()
	clients.begin(loads, start, c.rate)
	stopLive := screen.live()
	drains, err := deploy(ctx, f, screen)
	end()
	clients.wait()
	stopLive()
	if err != nil {
		return err
	}

	r := newReport(clients, drains, time.Since(start))
	if c.json {
		err = r.json(os.Stdout)
	} else {
		screen.table(r)
	}
	return errors.Join(err, r.failure())
}
