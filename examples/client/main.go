// Command client calls the orders service, as a program to copy: it makes calls at a
// fixed rate, keeps one long stream open that moves when its instance leaves, and says
// each second how things are.
//
//	go run ./examples/client                           Consul's agent: CONSUL_HTTP_ADDR, else localhost:8500
//	go run ./examples/client -target static:///127.0.0.1:50051,127.0.0.1:50052
//	go run ./examples/client -status 127.0.0.1:9903    and open http://127.0.0.1:9903/
//
// It ends on SIGINT and SIGTERM with a summary; the exit status tells whether a call
// failed. What surecall decides is logged on stderr. The calls are in load.go, the
// stream is in watch.go, what is printed in status.go, and the status page in page.go.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/examples/orders"
)

// config is what the flags say.
type config struct {
	target      string
	rate        int
	snapshotDir string
	status      string
	verbose     bool
}

func main() {
	var c config
	flag.StringVar(&c.target, "target", "consul:///orders", "the service to call")
	flag.IntVar(&c.rate, "rate", 100, "calls a second, 1 to 10000")
	flag.StringVar(&c.snapshotDir, "snapshot-dir", "", "folder to keep the last known instances in, to start from while Consul is down")
	flag.StringVar(&c.status, "status", "", "address of the status page, with /metrics for Prometheus beside it; empty: none")
	flag.BoolVar(&c.verbose, "v", false, "log all that surecall decides, not only warnings")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, c); err != nil {
		fmt.Fprintln(os.Stderr, "client:", err)
		os.Exit(1)
	}
}

// run calls until ctx ends.
func run(ctx context.Context, c config) error {
	if c.rate < 1 || c.rate > 10_000 {
		return fmt.Errorf("-rate %d: want 1 to 10000", c.rate)
	}
	client, err := surecall.NewClient(c.target, options(c)...)
	if err != nil {
		return err
	}
	if c.status != "" {
		stop, err := servePage(c.status, client)
		if err != nil {
			return errors.Join(err, client.Close())
		}
		defer stop()
	}
	stub := orders.NewOrdersClient(client) // as from a *grpc.ClientConn

	load := &load{orders: stub, start: time.Now()}
	watch := &watch{orders: stub, id: "1"}
	var running sync.WaitGroup
	running.Go(func() { load.run(ctx, c.rate) })
	running.Go(func() { watch.run(ctx) })
	showEverySecond(ctx, client, load, watch)
	running.Wait()

	total := summary(load, watch)
	if err := client.Close(); err != nil {
		return err
	}
	if total.failed > 0 {
		return fmt.Errorf("%d of %d calls failed, the last with: %w", total.failed, total.calls, total.lastErr)
	}
	return nil
}

// options are all that is not default. Idempotency, deadlines, retries and breakers need
// none: the proto file and the defaults say it.
func options(c config) []surecall.Option {
	level := slog.LevelWarn
	if c.verbose {
		level = slog.LevelInfo
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	opts := []surecall.Option{surecall.WithInsecure(), surecall.WithEvents(event.Slog(log))}
	if c.snapshotDir != "" {
		opts = append(opts, surecall.WithSnapshotDir(c.snapshotDir))
	}
	return opts
}
