package main

import (
	"bufio"
	"context"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"

	"github.com/surecall/surecall/examples/orders"
)

// server is an instance of the orders service in the test's process, whose faults the test
// chooses. Its methods are for one goroutine, but for those of the service.
type server struct {
	orders.UnimplementedOrdersServer
	address string
	running *grpc.Server

	failing      atomic.Int64 // percent of the calls
	failingPlace atomic.Int64 // of those of Place
	slow         atomic.Int64 // percent of the calls that take delay
	delay        atomic.Int64 // nanoseconds
}

// serve starts one, and ends it with the test.
func serve(t *testing.T) *server {
	t.Helper()
	s := &server{}
	s.start(t)
	t.Cleanup(s.stop)
	return s
}

// start has it listen, at the address that it had before.
func (s *server) start(t *testing.T) {
	t.Helper()
	address := s.address
	if address == "" {
		address = "127.0.0.1:0"
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	if s.address == "" { // calls under way read it
		s.address = l.Addr().String()
	}
	s.running = grpc.NewServer()
	orders.RegisterOrdersServer(s.running, s)
	running := s.running
	go func() { _ = running.Serve(l) }() // ends with stop
}

// stop closes all connections, as a process that is killed does.
func (s *server) stop() { s.running.Stop() }

func (s *server) answer(ctx context.Context, failing int64) (*orders.Order, error) {
	if rand.Int64N(100) < s.slow.Load() {
		timer := time.NewTimer(time.Duration(s.delay.Load()))
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	if rand.Int64N(100) < failing {
		return nil, grpcstatus.Error(codes.Unavailable, "as the test wants it")
	}
	return &orders.Order{ServedBy: s.address}, nil
}

func (s *server) Get(ctx context.Context, _ *orders.GetRequest) (*orders.Order, error) {
	return s.answer(ctx, s.failing.Load())
}

func (s *server) Cancel(ctx context.Context, _ *orders.CancelRequest) (*orders.Order, error) {
	return s.answer(ctx, s.failing.Load())
}

func (s *server) Place(ctx context.Context, _ *orders.PlaceRequest) (*orders.Order, error) {
	return s.answer(ctx, max(s.failing.Load(), s.failingPlace.Load()))
}

func (s *server) Watch(_ *orders.GetRequest, stream grpc.ServerStreamingServer[orders.Order]) error {
	if err := stream.Send(&orders.Order{ServedBy: s.address}); err != nil {
		return err
	}
	<-stream.Context().Done()
	return stream.Context().Err()
}

// build compiles a program of the repository and returns the binary.
func build(t *testing.T, dir string) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), filepath.Base(dir))
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", binary, ".")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build %s: %v\n%s", dir, err, out)
	}
	return binary
}

// process is a program that runs.
type process struct {
	cmd *exec.Cmd
	log lockedBuffer
}

// run starts a program, which is killed with the test, and returns the rest of the line in
// which it prints mark, up to a space.
func run(t *testing.T, env, mark, binary string, args ...string) (p *process, after string) {
	t.Helper()
	p = &process{cmd: exec.Command(binary, args...)}
	out, in := io.Pipe()
	p.cmd.Stdout, p.cmd.Stderr = in, in
	p.cmd.Env = append(os.Environ(), env)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	found, ended := make(chan string, 1), make(chan struct{})
	go func() {
		defer close(ended)
		told := false
		for lines := bufio.NewScanner(io.TeeReader(out, &p.log)); lines.Scan(); {
			if _, rest, ok := strings.Cut(lines.Text(), mark); ok && !told {
				rest, _, _ = strings.Cut(rest, " ")
				found <- rest
				told = true
			}
		}
	}()
	t.Cleanup(func() {
		p.kill()
		_ = p.cmd.Wait()
		_ = in.Close()
		<-ended
		if t.Failed() {
			log := p.log.String()
			t.Logf("%s %v ended with:\n%s", binary, args, log[max(0, len(log)-2000):])
		}
	})
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case after = <-found:
	case <-timer.C:
		t.Fatalf("%s %v did not print %q:\n%s", binary, args, mark, p.log.String())
	}
	return p, after
}

// kill ends it without a word.
func (p *process) kill() {
	_ = p.cmd.Process.Signal(syscall.SIGCONT) // it may be stopped, or have ended
	_ = p.cmd.Process.Kill()
}
