package doctor_test

import (
	"bufio"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall/cmd/surecall/internal/doctor"
)

// An ID that two nodes have is of two instances, and each is judged by its own node.
func TestOneIDOnTwoNodes(t *testing.T) {
	far := strings.NewReplacer(`"Node": "n"`, `"Node": "way-off"`, `"Address": "127.0.0.1"},`, `"Address": "10.1.2.3"},`)
	r := run(t, doctor.Options{Target: agent(t, entry("orders", "127.0.0.1:"+server(t), ""), far.Replace(entry("orders", "127.0.0.2:1", "")))})
	if got := find(r, "registration"); !strings.Contains(got, "fault 1 instance registered with a loopback address from another host, and callers dial themselves: orders at 127.0.0.2:1 on node way-off (10.1.2.3)") {
		t.Errorf("registration:\n%s", got)
	}
	if got := find(r, "health"); got != "ok the only instance: SERVING" {
		t.Errorf("health: %s: want the one that is left", got)
	}
}

// What Consul has as critical is told, and not dialled while others can be called.
func TestOneOfTwoIsCritical(t *testing.T) {
	ill := strings.NewReplacer(`"Status": "passing"`, `"Status": "critical", "Output": "disk full"`)
	r := run(t, doctor.Options{Target: agent(t, entry("a", "127.0.0.1:"+server(t), ""), ill.Replace(entry("b", "127.0.0.1:1", "")))})
	if got := find(r, "checks"); got != `warn 1 of 2 are not used: b: check "c" is critical: disk full` || !r.Healthy {
		t.Errorf("checks: %s; %+v", got, r.Steps)
	}
}

// bilingual has the connections of one language to a port that takes two, as that of a
// service mesh does while it is rolled out.
type bilingual struct {
	net.Listener
	conns chan net.Conn
}

func (b *bilingual) Accept() (net.Conn, error) {
	conn, ok := <-b.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return conn, nil
}

type peeked struct {
	net.Conn
	from *bufio.Reader
}

func (p peeked) Read(b []byte) (int, error) { return p.from.Read(b) }

// serveBoth serves in TLS and in plaintext on one port.
func serveBoth(t *testing.T, creds credentials.TransportCredentials) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	secure, plain := &bilingual{listener, make(chan net.Conn)}, &bilingual{listener, make(chan net.Conn)}
	for _, s := range []struct {
		on     *bilingual
		server *grpc.Server
	}{{secure, grpc.NewServer(grpc.Creds(creds))}, {plain, grpc.NewServer()}} {
		grpc_health_v1.RegisterHealthServer(s.server, health.NewServer())
		go func() { _ = s.server.Serve(s.on) }()
		t.Cleanup(s.server.Stop)
	}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				close(secure.conns)
				close(plain.conns)
				return
			}
			p := peeked{conn, bufio.NewReader(conn)}
			if first, err := p.from.Peek(1); err == nil && first[0] == 22 { // a handshake
				secure.conns <- p
			} else {
				plain.conns <- p
			}
		}
	}()
	return listener.Addr().String()
}

func TestBothOnOnePort(t *testing.T) {
	creds, ca := selfSigned(t, "orders.service.consul")
	both := serveBoth(t, creds)
	for name, test := range map[string]struct {
		options doctor.Options
		want    string
	}{
		"as it comes":  {doctor.Options{}, "ok gRPC in plaintext: call with WithInsecure"},
		"in plaintext": {doctor.Options{Plaintext: true}, "ok gRPC in plaintext: call with WithInsecure"},
		"in TLS":       {doctor.Options{CAFile: ca}, "ok gRPC over TLS: call with WithTransportCredentials"},
	} {
		o := test.options
		o.Target = agent(t, entry("a", both, ""))
		if r := run(t, o); find(r, "protocol") != test.want || !r.Healthy {
			t.Errorf("%s: %s: want %s; %+v", name, find(r, "protocol"), test.want, r.Steps)
		}
	}
	// Beside it others may speak either.
	for _, other := range []string{server(t), server(t, grpc.Creds(creds))} {
		r := run(t, doctor.Options{Target: agent(t, entry("a", both, ""), entry("b", "127.0.0.1:"+other, ""))})
		if got := find(r, "protocol"); !strings.HasPrefix(got, "ok ") {
			t.Errorf("beside another: %s", got)
		}
	}
}

// Clients learn of the health by a stream, which is refused by other interceptors than a
// single call.
func TestWatchIsRefused(t *testing.T) {
	for code, want := range map[codes.Code]string{
		codes.Unauthenticated: "fault the only instance: lets the health Check through and refuses the Watch without credentials: Unauthenticated: who?",
		codes.Unimplemented:   "warn the only instance: answers the health Check and not the Watch: Unimplemented: who?",
		codes.OK:              "ok the only instance: SERVING",
	} {
		address := "127.0.0.1:" + server(t, grpc.StreamInterceptor(func(srv any, s grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
			if code != codes.OK {
				return status.Error(code, "who?")
			}
			return handler(srv, s)
		}))
		r := run(t, doctor.Options{Target: "static:///" + address})
		if got := find(r, "auth") + "\n" + find(r, "health"); !strings.Contains(got, want) {
			t.Errorf("%v:\n%s\nwant %s", code, got, want)
		}
	}
}

// The DNS server that a target names is the one that is asked.
func TestNameServerOfTheTarget(t *testing.T) {
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var asked atomic.Int32
	var answers sync.WaitGroup
	answers.Go(func() {
		message := make([]byte, 512)
		for {
			n, from, err := server.ReadFrom(message)
			if err != nil {
				return
			}
			if strings.Contains(string(message[:n]), "\x06orders\x04test") {
				asked.Add(1)
			}
			message[2], message[3] = message[2]|0x80, 0x83 // an answer: there is no such name
			_, _ = server.WriteTo(message[:n], from)
		}
	})
	r := run(t, doctor.Options{Target: "dns://" + server.LocalAddr().String() + "/orders.test:1"})
	_ = server.Close()
	answers.Wait()
	if got := find(r, "target"); asked.Load() == 0 || got != `fault "orders.test" does not resolve: no such host` {
		t.Errorf("asked %d times: %s", asked.Load(), got)
	}
}

func selfSigned(t *testing.T, name string) (creds credentials.TransportCredentials, file string) {
	t.Helper()
	pair, pem := doctor.SelfSigned(t, time.Now().Add(24*time.Hour*90), name)
	file = t.TempDir() + "/ca.pem"
	if err := os.WriteFile(file, pem, 0o600); err != nil {
		t.Fatal(err)
	}
	return credentials.NewServerTLSFromCert(&pair), file
}
