//go:build unix

package main_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall/examples/internal/exampletest"
	"github.com/surecall/surecall/examples/orders"
)

// running is a server that is online.
type running struct {
	*exampletest.Process
	admin string
	stub  orders.OrdersClient
}

func start(t *testing.T, binary string, flags ...string) running {
	t.Helper()
	flags = append([]string{"-static", "-id", "one", "-listen", "127.0.0.1:0", "-admin", "127.0.0.1:0"}, flags...)
	p := exampletest.Start(t, nil, binary, flags...)
	admin := exampletest.Value(p.Await(t, "lifecycle: admin endpoint"), "on")
	address := exampletest.Value(p.Await(t, "lifecycle: online"), "address")
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return running{p, admin, orders.NewOrdersClient(conn)}
}

func TestServer(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the program, and waits for its drains")
	}
	binary := exampletest.Build(t, ".")
	for name, test := range map[string]func(t *testing.T, binary string){
		"each method": eachMethod,
		"a stream is told that its server leaves": streamIsTold,
		"offline":                        offline,
		"record and replay":              recordAndReplay,
		"an unknown argument is refused": unknownArgument,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, binary)
		})
	}
}

func eachMethod(t *testing.T, binary string) {
	s := start(t, binary)
	ctx := t.Context()
	placed, err := s.stub.Place(ctx, &orders.PlaceRequest{Item: "a pen"})
	if err != nil || placed.GetItem() != "a pen" || placed.GetServedBy() != "one" {
		t.Fatalf("placed %v: %v", placed, err)
	}
	if got, err := s.stub.Get(ctx, &orders.GetRequest{Id: placed.GetId()}); err != nil || got.GetItem() != "a pen" {
		t.Errorf("got %v: %v", got, err)
	}
	if _, err := s.stub.Get(ctx, &orders.GetRequest{Id: "none"}); status.Code(err) != codes.NotFound {
		t.Errorf("an unknown order: %v, want NotFound", err)
	}
	if _, err := s.stub.Place(ctx, &orders.PlaceRequest{}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("an order of nothing: %v, want InvalidArgument", err)
	}

	watch, err := s.stub.Watch(ctx, &orders.GetRequest{Id: placed.GetId()})
	if err != nil {
		t.Fatal(err)
	}
	if o, err := watch.Recv(); err != nil || o.GetItem() != "a pen" {
		t.Fatalf("watch began with %v: %v", o, err)
	}
	for range 2 { // the second time is as the first
		if o, err := s.stub.Cancel(ctx, &orders.CancelRequest{Id: placed.GetId()}); err != nil || o.GetItem() != "a pen (cancelled)" {
			t.Errorf("cancelled %v: %v", o, err)
		}
	}
	if o, err := watch.Recv(); err != nil || o.GetItem() != "a pen (cancelled)" {
		t.Errorf("watch told of %v: %v", o, err)
	}

	imported, err := s.stub.Import(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := imported.Send(&orders.PlaceRequest{Item: "a cup"}); err != nil {
			t.Fatal(err)
		}
	}
	if r, err := imported.CloseAndRecv(); err != nil || r.GetCount() != 3 {
		t.Errorf("imported %v: %v, want 3", r, err)
	}
}

// A caller that knows nothing of surecall is told that its stream's server leaves, and
// the server ends without an error.
func streamIsTold(t *testing.T, binary string) {
	s := start(t, binary)
	watch, err := s.stub.Watch(t.Context(), &orders.GetRequest{Id: "1"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := watch.Recv(); err != nil {
		t.Fatal(err)
	}
	s.Signal(t, syscall.SIGTERM)
	if _, err := watch.Recv(); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "leaving") {
		t.Errorf("the stream ended with %v, want Unavailable: leaving", err)
	}
	if err := s.Wait(t); err != nil {
		t.Errorf("ended with %v; it printed:\n%s", err, s.Output())
	}
}

// "server offline" drains the server that another process of the binary runs, and
// leaves it running.
func offline(t *testing.T, binary string) {
	s := start(t, binary)
	command := exampletest.Start(t, []string{"SURECALL_ADMIN=" + s.admin}, binary, "offline")
	if err := command.Wait(t); err != nil || !strings.Contains(command.Output(), "drained in") {
		t.Fatalf("server offline: %v\n%s", err, command.Output())
	}
	if _, err := s.stub.Get(context.WithoutCancel(t.Context()), &orders.GetRequest{Id: "1"}); err != nil {
		t.Errorf("a late call: %v, want it served", err)
	}
	s.Signal(t, syscall.SIGTERM)
	if err := s.Wait(t); err != nil {
		t.Errorf("ended with %v", err)
	}
}

// What one server recorded warms up the next.
func recordAndReplay(t *testing.T, binary string) {
	file := filepath.Join(t.TempDir(), "recording")
	first := start(t, binary, "-record", file, "-replay", file) // there is none yet, and that is no reason not to start
	for _, id := range []string{"7", "8"} {
		if _, err := first.stub.Get(t.Context(), &orders.GetRequest{Id: id}); err != nil {
			t.Fatal(err)
		}
	}
	first.Signal(t, syscall.SIGTERM)
	if err := first.Wait(t); err != nil {
		t.Fatalf("ended with %v; it printed:\n%s", err, first.Output())
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the recording: %v, %v; want a file for its owner alone", info, err)
	}
	second := start(t, binary, "-replay", file)
	if !strings.Contains(second.Output(), "100 calls of 1 methods") {
		t.Errorf("nothing was replayed; it printed:\n%s", second.Output())
	}
}

func unknownArgument(t *testing.T, binary string) {
	p := exampletest.Start(t, nil, binary, "ofline")
	if err := p.Wait(t); err == nil || !strings.Contains(p.Output(), `"ofline": want flags, or the command offline`) {
		t.Errorf("%v, printed %q", err, p.Output())
	}
}
