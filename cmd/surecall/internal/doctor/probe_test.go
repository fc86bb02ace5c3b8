package doctor

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/proto"
)

func TestJudgePlain(t *testing.T) {
	for _, test := range []struct {
		says string
		err  error
		want string
	}{
		{"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x05\x00\x00@\x00", nil, speaksHTTP2},
		{"\x00\x00\x00\x04\x00\x00\x00\x00\x01", nil, speaksOther}, // settings belong to no stream
		{"HTTP/1.1 400 Bad Request\r\n", nil, speaksHTTP1},
		{"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n", nil, speaksTLS},
		{"\x15\x03\x01\x00\x02\x02\x46", io.ErrUnexpectedEOF, speaksTLS},
		{"SSH-2.0-OpenSSH", nil, speaksOther},
		{"", io.EOF, hangsUp},
		{"", context.DeadlineExceeded, saysNothing},
	} {
		if got := judgePlain([]byte(test.says), test.err); got != test.want {
			t.Errorf("%q, %v: %s, want %s", test.says, test.err, got, test.want)
		}
	}
}

// certificate makes one that its authority signed, or that signs itself without.
func certificate(t *testing.T, from, to time.Time, names []string, by *x509.Certificate, with *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "cert"}, DNSNames: names, NotBefore: from, NotAfter: to,
		IsCA: by == nil, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	if by == nil {
		by, with = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by, key.Public(), with)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

// SelfSigned is a server's certificate, and what trusts it.
func SelfSigned(t *testing.T, to time.Time, name string) (pair tls.Certificate, authority []byte) {
	t.Helper()
	cert, key := certificate(t, time.Now().Add(-time.Hour), to, []string{name}, nil, nil)
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
}

// Of several certificates the one that ends first is told, whoever speaks first.
func TestTheCertificateThatEndsFirst(t *testing.T) {
	now := time.Now()
	secure := func(until string, ends time.Time) *probe {
		return &probe{spoke: spoke{tls: true}, until: until, ends: ends}
	}
	probes := []*probe{{}, secure("late", now.Add(time.Hour)), secure("soon", now), secure("later", now.Add(2*time.Hour))}
	if got := praise("tls", probes); got != "soon" {
		t.Errorf("%q: want that which ends soon", got)
	}
	if got := praise("tls", probes[:1]); got != "" {
		t.Errorf("%q: want nothing where nobody speaks TLS", got)
	}
}

func TestJudgeCertificate(t *testing.T) {
	now := time.Date(2026, 1, 15, 0, 0, 0, 0, time.UTC)
	day := 24 * time.Hour
	ca, key := certificate(t, now.Add(-300*day), now.Add(300*day), nil, nil, nil)
	leaf, _ := certificate(t, now.Add(-10*day), now.Add(10*day), []string{"orders.service.consul"}, ca, key)
	nameless, _ := certificate(t, now.Add(-10*day), now.Add(10*day), nil, ca, key)
	trust := x509.NewCertPool()
	trust.AddCert(ca)
	for name, test := range map[string]struct {
		chain []*x509.Certificate
		roots *x509.CertPool
		host  string
		now   time.Time
		want  string // empty: it is fine
	}{
		"fine":           {[]*x509.Certificate{leaf}, trust, "orders.service.consul", now, ""},
		"none":           {nil, trust, "orders.service.consul", now, "shows no certificate"},
		"ended":          {[]*x509.Certificate{leaf}, trust, "orders.service.consul", now.Add(11 * day), "ended at 2026-01-25"},
		"ended, unknown": {[]*x509.Certificate{leaf}, x509.NewCertPool(), "x", now.Add(11 * day), "ended at 2026-01-25"},
		"begins":         {[]*x509.Certificate{leaf}, trust, "orders.service.consul", now.Add(-11 * day), "begins at 2026-01-05"},
		"unknown":        {[]*x509.Certificate{leaf}, x509.NewCertPool(), "orders.service.consul", now, "not trusted here"},
		"of the system":  {[]*x509.Certificate{leaf}, nil, "orders.service.consul", now, "not trusted here"},
		"another name":   {[]*x509.Certificate{leaf}, trust, "users.service.consul", now, `not for "users.service.consul": it is for orders.service.consul`},
		"no name":        {[]*x509.Certificate{nameless}, trust, "users.service.consul", now, "no name at all"},
	} {
		f := judge(test.chain, test.roots, test.host, test.now)
		switch {
		case test.want == "" && f != nil:
			t.Errorf("%s: %s", name, f.what)
		case test.want != "" && (f == nil || !strings.Contains(f.what, test.want) || f.remedy == "" || f.stage != "tls"):
			t.Errorf("%s: %+v: want %q and a remedy", name, f, test.want)
		}
	}
}

func TestJudgeHealth(t *testing.T) {
	grpc := func(a answer) answer { a.http, a.contentType = http.StatusOK, "application/grpc"; return a }
	for name, test := range map[string]struct {
		answer  answer
		service string
		stage   string // of the fault
		says    string
		warning string
	}{
		"serving":             {grpc(answer{serving: grpc_health_v1.HealthCheckResponse_SERVING}), "", "", "", ""},
		"not serving":         {grpc(answer{serving: grpc_health_v1.HealthCheckResponse_NOT_SERVING}), "", "health", "NOT_SERVING", ""},
		"unknown":             {grpc(answer{serving: grpc_health_v1.HealthCheckResponse_UNKNOWN}), "", "health", "UNKNOWN", ""},
		"no health service":   {grpc(answer{code: codes.Unimplemented}), "", "", "", "no gRPC health service"},
		"no such service":     {grpc(answer{code: codes.NotFound}), "a.B", "health", `"a.B" (SERVICE_UNKNOWN)`, ""},
		"no health of itself": {grpc(answer{code: codes.NotFound}), "", "", "", "SERVICE_UNKNOWN"},
		"unauthenticated":     {grpc(answer{code: codes.Unauthenticated, message: "who?"}), "", "auth", "Unauthenticated: who?", ""},
		"denied":              {grpc(answer{code: codes.PermissionDenied}), "", "auth", "PermissionDenied: no reason given", ""},
		"a proxy":             {answer{http: 403, contentType: "text/html"}, "", "auth", "HTTP 403", ""},
		"no gRPC":             {answer{http: 200, contentType: "text/html"}, "", "protocol", "200 text/html", ""},
		"draining":            {grpc(answer{draining: true, serving: grpc_health_v1.HealthCheckResponse_NOT_SERVING}), "", "draining", "leaving", ""},
		"fails":               {grpc(answer{code: codes.Internal, message: "db"}), "", "health", "Internal: db", ""},
		"a code that is none": {grpc(answer{code: 99}), "", "health", "Code(99)", ""},
	} {
		fault, warning := judgeHealth(test.answer, test.service)
		if fault == nil {
			fault = &finding{}
		}
		if warning == nil {
			warning = &finding{}
		}
		if fault.stage != test.stage || !strings.Contains(fault.what, test.says) || !strings.Contains(warning.what, test.warning) || test.warning == "" && warning.what != "" {
			t.Errorf("%s: fault %+v, warning %+v", name, fault, warning)
		}
		if fault.stage != "" && fault.remedy == "" || warning.what != "" && warning.remedy == "" {
			t.Errorf("%s: no remedy", name)
		}
	}
}

func TestReadAnswer(t *testing.T) {
	serving, err := proto.Marshal(&grpc_health_v1.HealthCheckResponse{Status: grpc_health_v1.HealthCheckResponse_SERVING})
	if err != nil {
		t.Fatal(err)
	}
	body := append([]byte{0, 0, 0, 0, byte(len(serving))}, serving...)
	headers := http.Header{"Content-Type": {"application/grpc+proto"}}
	a, err := read(&http.Response{StatusCode: 200, Header: headers, Trailer: http.Header{"Grpc-Status": {"0"}, "Surecall-Draining": {"1"}}}, body)
	if err != nil || a.serving != grpc_health_v1.HealthCheckResponse_SERVING || !a.draining {
		t.Errorf("%+v, %v: want SERVING and draining", a, err)
	}
	// Without a body, what were trailers are headers.
	a, err = read(&http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"application/grpc"}, "Grpc-Status": {"16"}, "Grpc-Message": {"no%20token"}}}, nil)
	if err != nil || a.code != codes.Unauthenticated || a.message != "no token" {
		t.Errorf("%+v, %v: want Unauthenticated: no token", a, err)
	}
	for name, broken := range map[string]struct {
		status string
		body   []byte
	}{
		"no status": {"", body}, "a word for a status": {"OK", body}, "no body": {"0", nil},
		"compressed": {"0", append([]byte{1}, body[1:]...)}, "no message": {"0", []byte{0, 0, 0, 0, 1, 0xff}},
	} {
		if a, err := read(&http.Response{StatusCode: 200, Header: headers, Trailer: http.Header{"Grpc-Status": {broken.status}}}, broken.body); err == nil {
			t.Errorf("%s: %+v: want an error", name, a)
		}
	}
}
