package doctor

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"
)

// preface is what an HTTP/2 client says first, with empty settings behind it.
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"

// spoke is how an instance answers.
type spoke struct {
	tls  bool // whether it is asked in TLS
	both bool // it speaks plaintext as well
	// wanted tells whether it asked for a client certificate.
	wanted bool
	state  tls.ConnectionState
	plain  string // what it says in plaintext: one of the answers below
	secret error  // why there is no TLS connection
}

// What answers the preface in plaintext.
const (
	speaksHTTP2 = "HTTP/2"
	speaksHTTP1 = "HTTP/1"
	speaksTLS   = "TLS"
	speaksOther = "something else"
	saysNothing = "nothing"
	hangsUp     = "hangs up"
)

// listen resolves the instance's name and connects to it.
func (w *walk) listen(ctx context.Context, p *probe) *finding {
	ctx, cancel := context.WithTimeout(ctx, w.options.Timeout)
	defer cancel()
	conn, err := dial(ctx, p.Address)
	if err == nil {
		_ = conn.Close()
		return nil
	}
	f := &finding{"dial", "the connection fails: " + short(dialProblem(err)), "look whether the server runs and a firewall lets callers through"}
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns):
		f.what, f.remedy = fmt.Sprintf("the name %q does not resolve here", dns.Name), "register an address that callers can resolve: the IP, or a name of the DNS that they use"
	case errors.Is(err, syscall.ECONNREFUSED):
		f.what, f.remedy = "connection refused", "start the server, and register the port that it listens on; it must listen on the address that is registered, not on 127.0.0.1 alone"
	case errors.Is(err, syscall.ENOENT):
		f.what, f.remedy = "there is no such socket", "start the server on this host: a unix socket cannot be reached from another"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		f.what, f.remedy = "no route to its network", "register an address that is routed from here, or choose another with address=wan in the target"
	case isTimeout(err):
		f.what = fmt.Sprintf("no connection within %v", w.options.Timeout)
		f.remedy = "look for a firewall or security group that drops packets, and for an address of another network (address=wan in the target)"
	}
	return f
}

func dial(ctx context.Context, address string) (net.Conn, error) {
	var d net.Dialer
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		return d.DialContext(ctx, "unix", strings.TrimPrefix(path, "//"))
	}
	return d.DialContext(ctx, "tcp", address)
}

// dialProblem is the cause of err, without addresses that the line has anyway.
func dialProblem(err error) string {
	var op *net.OpError
	if errors.As(err, &op) && op.Err != nil {
		err = op.Err
	}
	var dns *net.DNSError
	if errors.As(err, &dns) {
		return dns.Err
	}
	return err.Error()
}

// greet finds out what the instance speaks, in plaintext and in TLS at the same time. One
// that speaks both is asked as the options say, else in plaintext.
func (w *walk) greet(ctx context.Context, p *probe) *finding {
	ctx, cancel := context.WithTimeout(ctx, w.options.Timeout)
	defer cancel()
	var both sync.WaitGroup
	var plain string
	both.Go(func() { plain = greetPlain(ctx, p.Address) })
	both.Go(func() { p.spoke = w.greetTLS(ctx, p) })
	both.Wait()
	s := &p.spoke
	s.plain = plain
	s.both = s.tls && plain == speaksHTTP2
	s.tls = s.tls && (!s.both || w.options.TLS)
	return w.protocol(p)
}

// protocol judges what the greetings found.
func (w *walk) protocol(p *probe) *finding {
	f := &finding{stage: "protocol"}
	s := p.spoke
	switch {
	case s.tls && w.options.Plaintext:
		f.what, f.remedy = "speaks TLS, and plaintext is asked for", "call with WithTransportCredentials in place of WithInsecure, or take the credentials from the server"
	case s.tls:
		return nil
	case s.plain == speaksHTTP2 && w.options.TLS:
		f.what, f.remedy = "speaks plaintext, and TLS is asked for", "give the server credentials (grpc.Creds), or call with WithInsecure"
	case s.plain == speaksHTTP2:
		return nil
	case s.plain == speaksHTTP1:
		f.what, f.remedy = "speaks HTTP/1 and no HTTP/2: it is no gRPC server", "register the port of the gRPC server; this is that of a web server, of metrics or of a gateway"
	case noHTTP2(s.secret):
		return &finding{"tls", withoutHTTP2, offerHTTP2}
	case isAlert(s.secret):
		f.stage, f.what = "tls", "refuses the TLS handshake: "+short(dialProblem(s.secret))
		f.remedy = w.handshakeRemedy(s)
	case s.plain == speaksOther:
		f.what, f.remedy = "speaks neither TLS nor HTTP", "register the port of the gRPC server"
	case s.plain == saysNothing:
		f.what = fmt.Sprintf("accepts connections and says nothing within %v", w.options.Timeout)
		f.remedy = "the process hangs or is stopped: look at its state and its stacks (kill -QUIT), then restart it"
	default:
		f.what, f.remedy = "accepts connections and hangs up", "look for a proxy without a server behind it, and at the server's log"
	}
	return f
}

// greetPlain returns what answers an HTTP/2 client in plaintext.
func greetPlain(ctx context.Context, address string) string {
	conn, err := dial(ctx, address)
	if err != nil {
		return hangsUp
	}
	defer interruptible(ctx, conn)()
	if _, err := io.WriteString(conn, preface); err != nil {
		return hangsUp
	}
	answer := make([]byte, 512)
	n, err := io.ReadAtLeast(conn, answer, 9)
	return judgePlain(answer[:n], err)
}

// judgePlain names what answered the preface.
func judgePlain(answer []byte, err error) string {
	switch {
	case len(answer) >= 9 && answer[3] == 4 && bytes.Equal(answer[5:9], make([]byte, 4)): // settings, of no stream
		return speaksHTTP2
	case bytes.Contains(answer, []byte("HTTPS server")):
		return speaksTLS
	case bytes.HasPrefix(answer, []byte("HTTP/1")):
		return speaksHTTP1
	case len(answer) >= 2 && answer[0] == 21 && answer[1] == 3: // an alert
		return speaksTLS
	case len(answer) > 0:
		return speaksOther
	case isTimeout(err):
		return saysNothing
	default:
		return hangsUp
	}
}

// greetTLS shakes hands with whoever answers, and waits for what it says then: in TLS 1.3
// a server judges the client's certificate only after the handshake. Certificates are
// looked at later.
func (w *walk) greetTLS(ctx context.Context, p *probe) spoke {
	var s spoke
	conn, err := dial(ctx, p.Address)
	if err != nil {
		s.secret = err
		return s
	}
	defer interruptible(ctx, conn)()
	config := w.tlsConfig(p)
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		s.wanted = true
		if len(w.own) == 0 {
			return &tls.Certificate{}, nil
		}
		return &w.own[0], nil
	}
	secure := tls.Client(conn, config)
	if s.secret = secure.HandshakeContext(ctx); s.secret != nil {
		return s
	}
	s.tls, s.state = true, secure.ConnectionState()
	if s.state.NegotiatedProtocol != "h2" {
		return s
	}
	if _, s.secret = io.WriteString(secure, preface); s.secret == nil {
		_, s.secret = io.ReadFull(secure, make([]byte, 9))
	}
	return s
}

// tlsConfig takes any certificate: what is judged is judged in the tls stage, one thing
// at a time, and nothing secret is sent.
func (w *walk) tlsConfig(p *probe) *tls.Config {
	return &tls.Config{
		InsecureSkipVerify: true,
		ServerName:         w.serverName(p),
		NextProtos:         []string{"h2"},
		Certificates:       w.own,
	}
}

// interruptible ends what conn waits for when ctx ends, and returns what closes it.
func interruptible(ctx context.Context, conn net.Conn) func() {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	return func() {
		stop()
		_ = conn.Close()
	}
}
