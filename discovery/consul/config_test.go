package consul

import (
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/consul/api"

	"github.com/surecall/surecall/discovery"
)

func TestConfigValidateReportsAll(t *testing.T) {
	err := Config{Address: "http://", Scheme: "ftp", WaitTime: 1, TLS: api.TLSConfig{CertFile: "x"}}.Validate()
	for _, want := range []string{"Address", `"ftp"`, "WaitTime 1ns", "TLS"} {
		if !strings.Contains(text(err), want) {
			t.Errorf("%v: want %q in it", err, want)
		}
	}
	if err := (Config{}).Validate(); err != nil {
		t.Errorf("the zero value: %v", err)
	}
	t.Setenv("CONSUL_HTTP_SSL", "perhaps")
	if err := (Config{}).Validate(); !strings.Contains(text(err), "CONSUL_HTTP_SSL") {
		t.Errorf("%v: want the environment named", err)
	}
}

func TestConfigAddresses(t *testing.T) {
	t.Setenv("CONSUL_HTTP_ADDR", "env.test:1")
	for _, tt := range []struct{ address, scheme, want string }{
		{"", "", "http env.test:1"},
		{"agent", "", "http agent:8500"},
		{"agent:7", "https", "https agent:7"},
		{"https://agent:7/consul/", "", "https agent:7 /consul"},
		{"http://agent:7", "https", "https agent:7"},
		{"[::1]:7", "", "http [::1]:7"},
		{"unix:///run/consul.sock", "", "http localhost unix /run/consul.sock"},
	} {
		e, err := Config{Address: tt.address, Scheme: tt.scheme}.resolve()
		got := e.Scheme + " " + e.host
		if e.prefix != "" {
			got += " " + e.prefix
		}
		if e.socket != "" {
			got += " unix " + e.socket
		}
		if err != nil || got != tt.want {
			t.Errorf("%q: %s, %v; want %s", tt.address, got, err, tt.want)
		}
	}
	for _, address := range []string{"ftp://agent", "agent:0", "agent:port", "unix://", "http://a b", "a?b=c"} {
		if err := (Config{Address: address}).Validate(); err == nil {
			t.Errorf("%q was accepted", address)
		}
	}
}

// Nothing that describes or fails shows a secret, whatever a proxy echoes.
func TestSecretsAreNeverShown(t *testing.T) {
	const secret = "5ecret-t0ken"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "no access for "+r.Header.Get("X-Consul-Token")+r.Header.Get("Authorization"), 403)
	}))
	defer server.Close()
	c := Config{Address: server.URL, Token: secret, Username: "joe", Password: secret}
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	shown := []string{c.String(), fmt.Sprintf("%v %+v %#v", c, c, c), s.String(), s.Explain(t.Context(), web)}
	_, err = s.Register(t.Context(), orders)
	shown = append(shown, err.Error())
	_, err = s.hub.agent.watchRead(t.Context(), web, plan{wait: firstWait})
	shown = append(shown, err.Error(), fmt.Sprintf("%#v", err), Config{Address: "http://joe:" + secret + "@agent"}.String())
	if !permanent(err) {
		t.Error("the error lost its status when it lost the secret")
	}
	for _, text := range shown {
		if strings.Contains(text, secret) {
			t.Errorf("shown: %s", text)
		}
	}
}

// A rotated token is used without a restart.
func TestTokenFileIsReadAgain(t *testing.T) {
	var token string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token = r.Header.Get("X-Consul-Token")
		_, _ = w.Write([]byte("[]"))
	}))
	defer server.Close()
	file := filepath.Join(t.TempDir(), "token")
	for _, want := range []string{"one", "two"} {
		if err := os.WriteFile(file, []byte(want+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := New(Config{Address: server.URL, Token: "ignored", TokenFile: file})
		if err != nil {
			t.Fatal(err)
		}
		s.Explain(t.Context(), web)
		if token != want {
			t.Errorf("token %q, want %q", token, want)
		}
		if err := os.WriteFile(file, []byte(want+"-rotated"), 0o600); err != nil {
			t.Fatal(err)
		}
		s.Explain(t.Context(), web)
		if token != want+"-rotated" {
			t.Errorf("token %q after the rotation", token)
		}
		s.Close()
	}
	if _, err := New(Config{TokenFile: file + ".none"}); err == nil {
		t.Error("a missing token file was accepted")
	}
}

func TestUnixSocketAgent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "consul.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(newRegistry(10, up("a", "10.0.0.1")))
	server.Listener = l
	server.Start()
	defer server.Close()
	s, err := New(Config{Address: "unix://" + path})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if got := s.Explain(t.Context(), web); got != "Consul has 1, passing" {
		t.Error(got)
	}
}

// The client of Consul ignores its TLS settings next to an own http.Client.
func TestTLSIsHonoured(t *testing.T) {
	server := httptest.NewTLSServer(newRegistry(10, up("a", "10.0.0.1")))
	defer server.Close()
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // the refused handshakes
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	for _, tt := range []struct {
		tls  api.TLSConfig
		want string
	}{
		{api.TLSConfig{}, "certificate"},
		{api.TLSConfig{CAPem: ca}, "Consul has 1, passing"},
		{api.TLSConfig{CAPem: ca, Address: "other.test"}, "not other.test"},
		{api.TLSConfig{InsecureSkipVerify: true}, "Consul has 1, passing"},
	} {
		s, err := New(Config{Address: server.URL, TLS: tt.tls})
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Explain(t.Context(), web); !strings.Contains(got, tt.want) {
			t.Errorf("%s: want %q in it", got, tt.want)
		}
		s.Close()
	}
}

func TestNormalize(t *testing.T) {
	e, _ := Config{Datacenter: "dc1"}.resolve()
	a, err := e.normalize(discovery.Query{Service: "web/", Tags: []string{"B", "a", "b"}})
	b, _ := e.normalize(discovery.Query{Service: "web", Tags: []string{"a", "b"}, Datacenter: "dc1"})
	if err != nil || queryKey(a) != queryKey(b) {
		t.Errorf("%+v, %+v, %v: want one watch", a, b, err)
	}
	for _, q := range []discovery.Query{{}, {Service: "/"}, {Service: "../agent/self"}, {Service: "web", Accept: 99}} {
		if _, err := e.normalize(q); err == nil {
			t.Errorf("%+v was accepted", q)
		}
	}
}
