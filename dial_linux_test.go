package surecall_test

import (
	"context"
	"net"
	"os"
	"strconv"
	"syscall"
	"testing"

	"google.golang.org/grpc"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/examples/orders"
)

// A connection that is black-holed shows within 5 s, ours or a user's: without the timeout,
// the kernel repeats what was sent for fifteen minutes.
func TestUserTimeoutIsSet(t *testing.T) {
	for name, opts := range map[string][]surecall.Option{
		"our dialer": nil,
		"a user's": {surecall.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp4", address)
		})},
	} {
		t.Run(name, func(t *testing.T) {
			lis, err := new(net.ListenConfig).Listen(t.Context(), "tcp4", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			server := grpc.NewServer()
			orders.RegisterOrdersServer(server, &leaver{})
			go func() { _ = server.Serve(lis) }()
			defer server.Stop()
			client, err := surecall.NewClient("static:///"+lis.Addr().String(), append(opts, surecall.WithInsecure())...)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = client.Close() }()
			get(t, client)
			timeouts := userTimeouts(t, lis.Addr().(*net.TCPAddr).Port)
			if len(timeouts) != 1 || timeouts[0] != 5000 {
				t.Errorf("TCP_USER_TIMEOUT of the connections to the server: %v: want 5000 ms of one", timeouts)
			}
		})
	}
}

// userTimeouts returns TCP_USER_TIMEOUT, in milliseconds, of each of this process's
// connections to a port.
func userTimeouts(t *testing.T, port int) []int {
	t.Helper()
	const tcpUserTimeout = 18
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip(err)
	}
	var all []int
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if peer, err := syscall.Getpeername(fd); err != nil || !isPort(peer, port) {
			continue
		}
		timeout, err := syscall.GetsockoptInt(fd, syscall.IPPROTO_TCP, tcpUserTimeout)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, timeout)
	}
	return all
}

func isPort(a syscall.Sockaddr, port int) bool {
	v4, ok := a.(*syscall.SockaddrInet4)
	return ok && v4.Port == port
}
