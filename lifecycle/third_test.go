package lifecycle_test

import (
	"bufio"
	"context"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/lifecycle"
)

const (
	stuckEnv    = "SURECALL_TEST_STUCK"
	handlerRuns = "the handler runs"
)

// A process with a handler that never returns waits for it after two signals, and ends
// by the third.
func TestThirdSignal(t *testing.T) {
	if os.Getenv(stuckEnv) != "" {
		runStuck(t)
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	c := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestThirdSignal$")
	c.Env = append(os.Environ(), stuckEnv+"=1")
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	await := []string{handlerRuns, "lifecycle: got a signal", "lifecycle: cutting calls off"}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if len(await) == 0 || !strings.Contains(lines.Text(), await[0]) {
			continue
		}
		await = await[1:]
		if err := c.Process.Signal(syscall.SIGTERM); err != nil {
			cancel()
			_ = c.Wait()
			t.Skip("no signals to processes here: ", err)
		}
	}
	_ = c.Wait() // an error, as it is to be: the state says which
	status, ok := c.ProcessState.Sys().(syscall.WaitStatus)
	if !ok || !status.Signaled() || status.Signal() != syscall.SIGTERM || len(await) != 0 {
		t.Errorf("%v, still to come %q: want it to end by the third signal", c.ProcessState, await)
	}
}

// runStuck is the process.
func runStuck(t *testing.T) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(os.Stdout, nil))
	life, server := onLoopback(t, func(c *lifecycle.Config) {
		c.Listen, c.Listener, c.Logger = "", lis, log
	})
	orders.RegisterOrdersServer(server, &handler{get: func(context.Context) error {
		log.Info(handlerRuns)
		select {}
	}})
	conn, err := grpc.NewClient("passthrough:///"+lis.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = orders.NewOrdersClient(conn).Get(context.Background(), &orders.GetRequest{}) }()
	t.Error("it returned: ", life.Run(context.Background(), server))
}
