package doctor

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/proto"

	"github.com/surecall/surecall/internal/wire"
)

// mostAnswer bounds what is read of an answer.
const mostAnswer = 64 << 10

// healthy asks for the gRPC health. It speaks HTTP/2 by itself, since gRPC's own client
// makes a status of whatever answers: here is told what answered.
func (w *walk) healthy(ctx context.Context, p *probe) *finding {
	ctx, cancel := context.WithTimeout(ctx, w.options.Timeout)
	defer cancel()
	a, err := w.askHealth(ctx, p, grpc_health_v1.Health_Check_FullMethodName)
	switch {
	case err != nil && isAlert(err):
		return &finding{"tls", "refuses the TLS connection: " + short(dialProblem(err)), w.handshakeRemedy(p.spoke)}
	case err != nil && isTimeout(err):
		return &finding{"health", fmt.Sprintf("does not answer the health check within %v", w.options.Timeout),
			"the server hangs, or lacks threads or locks for handlers: look at its stacks (kill -QUIT)"}
	case err != nil:
		return &finding{"health", "breaks off the health check: " + short(err.Error()), "look at the server's log"}
	}
	f, warning := judgeHealth(a, w.options.HealthService)
	if f == nil && warning == nil {
		f, warning = w.watched(ctx, p)
	}
	if warning != nil {
		p.warns = append(p.warns, *warning)
	}
	return f
}

// watched asks for the Watch too, by which clients learn of the health: what lets a Check
// through need not let a stream through.
func (w *walk) watched(ctx context.Context, p *probe) (fault, warning *finding) {
	a, err := w.askHealth(ctx, p, grpc_health_v1.Health_Watch_FullMethodName)
	switch {
	case err != nil || a.code == codes.OK:
		return nil, nil // it was well a moment ago, and has told so
	case a.code == codes.Unauthenticated || a.code == codes.PermissionDenied:
		return &finding{"auth", fmt.Sprintf("lets the health Check through and refuses the Watch without credentials: %v: %s", a.code, short(a.message)), letHealthPass}, nil
	}
	return nil, &finding{"health", fmt.Sprintf("answers the health Check and not the Watch: %v: %s: clients take it as serving as long as it is connected", a.code, short(a.message)),
		"let the server's health service have Watch, as gRPC's own has"}
}

// answer is what came back of a health check.
type answer struct {
	http        int
	contentType string
	code        codes.Code
	message     string
	serving     grpc_health_v1.HealthCheckResponse_ServingStatus
	draining    bool
}

// askHealth calls a method of the health service, and returns its first answer.
func (w *walk) askHealth(ctx context.Context, p *probe, method string) (answer, error) {
	var protocols http.Protocols
	scheme := "http"
	if p.spoke.tls {
		scheme = "https"
		protocols.SetHTTP2(true)
	} else {
		protocols.SetUnencryptedHTTP2(true)
	}
	transport := &http.Transport{
		Protocols:       &protocols,
		TLSClientConfig: w.tlsConfig(p),
		DialContext:     func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, p.Address) },
	}
	defer transport.CloseIdleConnections()
	message, err := proto.Marshal(&grpc_health_v1.HealthCheckRequest{Service: w.options.HealthService})
	if err != nil {
		return answer{}, err
	}
	body := append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...)
	u := url.URL{Scheme: scheme, Host: w.serverName(p), Path: method}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	request.Header = http.Header{"Content-Type": {"application/grpc"}, "Te": {"trailers"}, "User-Agent": {"surecall-doctor"}}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	text, err := firstMessage(response.Body)
	if err != nil {
		return answer{}, err
	}
	if method == grpc_health_v1.Health_Watch_FullMethodName && len(text) > 0 {
		return answer{http: response.StatusCode, contentType: response.Header.Get("Content-Type")}, nil // and has no end
	}
	if _, err := io.Copy(io.Discard, io.LimitReader(response.Body, mostAnswer)); err != nil { // up to the trailers
		return answer{}, err
	}
	return read(response, text)
}

// firstMessage reads one message of gRPC with its header, or nothing where there is none.
func firstMessage(body io.Reader) ([]byte, error) {
	header := make([]byte, 5)
	n, err := io.ReadFull(body, header)
	if err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = nil
		}
		return header[:n], err
	}
	text, err := io.ReadAll(io.LimitReader(body, min(mostAnswer, int64(binary.BigEndian.Uint32(header[1:])))))
	return append(header, text...), err
}

// read takes an answer apart. Without a body, gRPC's trailers are among the headers.
func read(r *http.Response, body []byte) (answer, error) {
	field := func(key string) string {
		if v := r.Trailer.Get(key); v != "" {
			return v
		}
		return r.Header.Get(key)
	}
	a := answer{http: r.StatusCode, contentType: r.Header.Get("Content-Type"), message: field("Grpc-Message"), draining: field(wire.Draining) != ""}
	if text, err := url.PathUnescape(a.message); err == nil {
		a.message = text
	}
	if !a.grpc() {
		return a, nil
	}
	code, err := strconv.ParseUint(field("Grpc-Status"), 10, 32)
	if err != nil {
		return a, errors.New("the answer has no gRPC status")
	}
	a.code = codes.Code(code)
	if a.code != codes.OK {
		return a, nil
	}
	var health grpc_health_v1.HealthCheckResponse
	if len(body) < 5 || body[0] != 0 || proto.Unmarshal(body[5:], &health) != nil {
		return a, errors.New("the answer is no health")
	}
	a.serving = health.Status
	return a, nil
}

// grpc reports whether a gRPC server answered.
func (a answer) grpc() bool {
	return a.http == http.StatusOK && strings.HasPrefix(a.contentType, "application/grpc")
}

const letHealthPass = "let the server's auth interceptors pass /grpc.health.v1.Health/*, unary and streams: probes of clients, of Consul and of Kubernetes have no credentials"

// judgeHealth says what an answer means, as a fault or as a warning.
func judgeHealth(a answer, service string) (fault, warning *finding) {
	said := fmt.Sprintf("%v: %s", a.code, short(a.message))
	switch {
	case !a.grpc() && (a.http == http.StatusUnauthorized || a.http == http.StatusForbidden):
		return &finding{"auth", fmt.Sprintf("a proxy before it refuses the health check: HTTP %d", a.http), "let the proxy pass /grpc.health.v1.Health/* without credentials"}, nil
	case !a.grpc():
		return &finding{"protocol", fmt.Sprintf("speaks HTTP/2 and no gRPC: it answers %d %s", a.http, short(a.contentType)),
			"register the port of the gRPC server; this is that of a web server or of a gateway without a route to it"}, nil
	case a.code == codes.Unauthenticated || a.code == codes.PermissionDenied:
		return &finding{"auth", "refuses the health check without credentials, so that nobody sees when it stops serving: " + said,
			letHealthPass}, nil
	case a.draining:
		return &finding{"draining", "announces that it is leaving", "wait for its replacement; if it should stay, bring it online again or restart it"}, nil
	case a.code == codes.Unimplemented:
		return nil, &finding{"health", "has no gRPC health service: clients take it as serving as long as it is connected",
			"register one (grpc_health_v1.RegisterHealthServer); package lifecycle does"}
	case a.code == codes.NotFound || a.code == codes.OK && a.serving == grpc_health_v1.HealthCheckResponse_SERVICE_UNKNOWN:
		what := fmt.Sprintf("does not know the health of service %q (SERVICE_UNKNOWN)", service)
		if service == "" {
			return nil, &finding{"health", what, `set it on the server: SetServingStatus("", SERVING)`}
		}
		return &finding{"health", what, fmt.Sprintf("set it on the server: SetServingStatus(%q, SERVING), or ask for another with -health-service", service)}, nil
	case a.code != codes.OK:
		return &finding{"health", "answers the health check with " + said, "look at the server's log: its health handler fails"}, nil
	case a.serving != grpc_health_v1.HealthCheckResponse_SERVING:
		return &finding{"health", fmt.Sprintf("says %v", a.serving),
			"look why the server is not ready; where Consul lets it pass all the same, let its check ask this health (a gRPC check)"}, nil
	}
	return nil, nil
}
