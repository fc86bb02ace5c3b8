package lifecycle

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/surecall/surecall/lifecycle/internal/admin"
)

// OfflineCommand lets a binary send offline the server that another process of it
// runs, where there is no shell and no curl: as the first line of main,
//
//	if done, code := lifecycle.OfflineCommand(os.Args[1:], "127.0.0.1:9901", os.Stderr); done {
//		os.Exit(code)
//	}
//
// makes "mybin offline" return once the server has drained. It is done if the first
// argument is "offline", and else does nothing. What it does and what is wrong is
// written to progress, and the code is for the process to exit with: 0 drained, 1 not
// drained, 2 not understood.
//
// The address is that of the admin endpoint, as the server was given it. The
// environment variable SURECALL_ADMIN replaces it, and the flag -admin replaces both;
// -timeout bounds the waiting (default 25s, which the defaults of a drain fit in). When it
// passes, or the command is ended, the drain goes on.
func OfflineCommand(args []string, address string, progress io.Writer) (done bool, code int) {
	if len(args) == 0 || args[0] != "offline" {
		return false, 0
	}
	c := offlineCommand{
		out:       progress,
		transport: &http.Transport{DisableKeepAlives: true}, // and no proxy: it is this machine
	}
	if err := c.parse(args[1:], address); errors.Is(err, flag.ErrHelp) {
		c.usage()
		return true, exitDrained
	} else if err != nil {
		c.say("%v", err)
		c.usage()
		return true, exitUsage
	}
	if err := c.run(); err != nil {
		c.say("%v", err)
		return true, exitFailed
	}
	return true, exitDrained
}

// What OfflineCommand tells the process to exit with.
const (
	exitDrained = 0
	exitFailed  = 1
	exitUsage   = 2
)

const (
	adminEnv       = "SURECALL_ADMIN"
	offlineTimeout = 25 * time.Second
	progressEvery  = time.Second
	maxAnswer      = 4 << 10
)

type offlineCommand struct {
	out       io.Writer
	transport http.RoundTripper
	address   string
	timeout   time.Duration
}

func (c *offlineCommand) parse(args []string, address string) error {
	if env := os.Getenv(adminEnv); env != "" {
		address = env
	}
	flags := flag.NewFlagSet("offline", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // errors are said once, by the caller
	flags.StringVar(&c.address, "admin", address, "")
	flags.DurationVar(&c.timeout, "timeout", offlineTimeout, "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("argument %q: want none but flags", flags.Arg(0))
	}
	if c.timeout <= 0 {
		return fmt.Errorf("-timeout %v: want more than 0", c.timeout)
	}
	var err error
	c.address, err = dialable(c.address)
	return err
}

// dialable makes of the address that a server listens on one to reach it under.
func dialable(address string) (string, error) {
	if address == "" {
		return "", fmt.Errorf("no admin address: want host:port in -admin or %s", adminEnv)
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil || port == "" || port == "0" {
		return "", fmt.Errorf("admin address %q: want host:port", address)
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port), nil
}

func (c *offlineCommand) usage() {
	_, _ = fmt.Fprintf(c.out, `usage: offline [-admin host:port] [-timeout duration]
Sends the server offline that listens on the admin address, and waits until it has drained.
  -admin     the server's admin address (default $%s, else what the program was built with)
  -timeout   how long to wait (default %v); the drain goes on when it passes
`, adminEnv, offlineTimeout)
}

func (c *offlineCommand) say(format string, args ...any) {
	_, _ = fmt.Fprintf(c.out, "offline: "+format+"\n", args...)
}

// run asks the server to leave and says what it waits for until it has left.
func (c *offlineCommand) run() error {
	ctx, cancel := context.WithTimeout(context.Background(), c.timeout)
	defer cancel()

	c.say("asking the server at %s to drain", c.address)
	start, answered := time.Now(), make(chan error, 1)
	go func() { answered <- c.ask(ctx, http.MethodPost, "/offline", new(admin.Left)) }()
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for {
		select {
		case err := <-answered:
			if err != nil && ctx.Err() != nil {
				return fmt.Errorf("no answer after %v; a drain that has begun goes on", c.timeout)
			}
			if err != nil {
				return err
			}
			c.say("drained in %v", time.Since(start).Round(time.Millisecond))
			return nil
		case <-tick.C:
			c.sayInFlight(ctx, time.Since(start))
		}
	}
}

// sayInFlight says what the server waits for, if the server says so soon.
func (c *offlineCommand) sayInFlight(ctx context.Context, waited time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, progressEvery)
	defer cancel()
	var now admin.InFlight
	if err := c.ask(ctx, http.MethodGet, "/inflight", &now); err == nil {
		c.say("in flight after %v: %d unary, %d streams", waited.Round(progressEvery), now.Unary, now.Streams)
	}
}

// ask makes a request and decodes its answer.
func (c *offlineCommand) ask(ctx context.Context, method, path string, answer any) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+c.address+path, http.NoBody)
	if err != nil {
		return fmt.Errorf("admin address %q: %w", c.address, err)
	}
	resp, err := c.transport.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, strings.TrimSpace(string(body)))
	}
	if err := json.Unmarshal(body, answer); err != nil {
		return fmt.Errorf("%s %s: want the admin endpoint of a surecall server: %w", method, path, err)
	}
	return nil
}
