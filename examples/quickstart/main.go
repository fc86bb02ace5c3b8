// Command quickstart shows what surecall does, with nothing to set up:
//
//	go run ./examples/quickstart
//
// It starts five server processes and two clients on one registry: surecall, and plain
// gRPC with round_robin. Both make the same calls at the same times, while a script
// kills, stops, drains, adds and reweighs servers. It ends with what each event cost
// either client. The exit status tells whether a call through surecall failed.
//
// The registry is one in memory, unless -consul names an agent.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"time"
)

// service is the name that the servers are registered under.
const service = "orders"

// config is what the flags say.
type config struct {
	consul   string
	duration time.Duration
	rate     int
	json     bool
	serve    string // an instance's ID: be that server, not the show
}

func main() {
	var c config
	flag.StringVar(&c.consul, "consul", "", "host:port of a Consul agent to use as the registry")
	flag.DurationVar(&c.duration, "duration", 20*time.Second, "how long the measured part lasts, at least 4s")
	flag.IntVar(&c.rate, "rate", 400, "calls a second of each client, 20 to 5000")
	flag.BoolVar(&c.json, "json", false, "print one JSON object and nothing else")
	flag.StringVar(&c.serve, "serve", "", "used by the program itself: be the server of this ID")
	flag.Parse()
	if err := run(c); err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1)
	}
}

func run(c config) error {
	if c.serve != "" {
		return serve(c.serve, c.consul)
	}
	if c.duration < 4*time.Second {
		return fmt.Errorf("-duration %v: want at least 4s", c.duration)
	}
	if c.rate < 20 || c.rate > 5000 {
		return fmt.Errorf("-rate %d: want 20 to 5000", c.rate)
	}
	// On Linux the servers die with the thread that started them, so it must be one
	// that lives as long as the show.
	runtime.LockOSThread()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	return show(ctx, c)
}

// show is the whole show, from the first server to the last line.
func show(ctx context.Context, c config) error {
	f, err := newFleet(c.consul)
	if err != nil {
		return err
	}
	defer f.close()
	for range 5 {
		if _, err := f.start(ctx); err != nil {
			return err
		}
	}
	sure, err := newSurecall(f)
	if err != nil {
		return err
	}
	defer sure.close()
	plain, err := newPlain(f)
	if err != nil {
		return err
	}
	defer plain.close()
	if err := errors.Join(sure.ready(ctx), plain.ready(ctx)); err != nil {
		return err
	}

	var out io.Writer = os.Stdout
	if c.json {
		out = io.Discard
	}
	screen := newScreen(out, c)
	screen.opening(f)
	start := time.Now()
	loads, end := context.WithCancel(ctx)
	defer end()
	sure.load.begin(loads, start, c.rate)
	plain.load.begin(loads, start, c.rate)
	ticking := screen.everySecond(loads, start, sure.load, plain.load)

	events, err := play(ctx, script, &stage{fleet: f, sure: sure, screen: screen, start: start, duration: c.duration})
	if err == nil {
		<-ticking
	}
	end()
	sure.load.wait()
	plain.load.wait()
	<-ticking
	if err != nil {
		return err
	}
	r := newReport(events, sure, plain, c.rate)
	if c.json {
		err = r.json(os.Stdout)
	} else {
		screen.table(r)
		screen.closing(lastWord(ctx, f, sure))
	}
	if failed := r.sure.total.failed; err == nil && failed > 0 {
		err = fmt.Errorf("%d calls through surecall failed, the first with: %w", failed, r.sure.firstErr)
	}
	return err
}
