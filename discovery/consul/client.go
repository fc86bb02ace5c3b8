package consul

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"
)

const (
	dialTimeout  = 3 * time.Second
	writeTimeout = 3 * time.Second  // of a write whose caller set no deadline
	readTimeout  = 10 * time.Second // of a read that does not block: 7 s rpc_hold_timeout and margin
)

type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

func networkDial(ctx context.Context, network, address string) (net.Conn, error) {
	d := net.Dialer{Timeout: dialTimeout, KeepAlive: 15 * time.Second}
	return d.DialContext(ctx, network, address)
}

// agent is a client of one Consul agent.
type agent struct {
	endpoint
	api       *api.Client
	transport *http.Transport
}

// newAgent builds the client; the only I/O is reading the token and TLS files. dial
// nil means the network.
//
// The client of Consul ignores TLS settings next to an own http.Client, and replaces
// that for unix sockets by one whose dial ignores its context. So both are done here.
func newAgent(e endpoint, dial dialFunc) (*agent, error) {
	if dial == nil {
		dial = networkDial
	}
	transport := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           dial,
		TLSHandshakeTimeout:   5 * time.Second,
		MaxIdleConnsPerHost:   4,
		IdleConnTimeout:       90 * time.Second,
		ExpectContinueTimeout: time.Second,
		ForceAttemptHTTP2:     true,
	}
	if e.socket != "" {
		transport.Proxy = nil
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dial(ctx, "unix", e.socket)
		}
	}
	tlsConfig, err := api.SetupTLSConfig(&e.TLS)
	if err != nil {
		return nil, fmt.Errorf("discovery/consul: TLS: %w", err)
	}
	transport.TLSClientConfig = tlsConfig
	token, err := e.token()
	if err != nil {
		return nil, err
	}
	config := &api.Config{
		Address:    e.host,
		Scheme:     e.Scheme,
		PathPrefix: e.prefix,
		HttpClient: &http.Client{Transport: &decorator{next: transport, endpoint: e}},
		Token:      token,
		Namespace:  e.Namespace,
		Partition:  e.Partition,
	}
	if e.Username != "" || e.Password != "" {
		config.HttpAuth = &api.HttpBasicAuth{Username: e.Username, Password: e.Password}
	}
	client, err := api.NewClient(config)
	if err != nil {
		return nil, fmt.Errorf("discovery/consul: %w", e.scrub(err))
	}
	return &agent{endpoint: e, api: client, transport: transport}, nil
}

// token returns the token to use now.
func (e endpoint) token() (string, error) {
	if e.TokenFile == "" {
		return e.Token, nil
	}
	data, err := os.ReadFile(e.TokenFile)
	if err != nil {
		return "", fmt.Errorf("discovery/consul: TokenFile: %w", err)
	}
	if token := strings.TrimSpace(string(data)); token != "" {
		return token, nil
	}
	return e.Token, nil
}

type tagsKey struct{}

// withTags makes requests of ctx ask for all of tags: a raw query of Consul's client
// has no room for more than one.
func withTags(ctx context.Context, tags []string) context.Context {
	if len(tags) == 0 {
		return ctx
	}
	return context.WithValue(ctx, tagsKey{}, tags)
}

// decorator sets on each request what Consul's client cannot: the current token and
// the tags. It takes out the namespace and partition called default, which Consul's
// community edition answers with 400.
type decorator struct {
	next     http.RoundTripper
	endpoint endpoint
}

func (d *decorator) RoundTrip(r *http.Request) (*http.Response, error) {
	token, err := d.endpoint.token()
	if err != nil {
		return nil, err
	}
	r = r.Clone(r.Context())
	if token != "" {
		r.Header.Set("X-Consul-Token", token)
	}
	params := r.URL.Query()
	for _, name := range []string{"ns", "partition"} {
		if params.Get(name) == "default" {
			params.Del(name)
		}
	}
	if tags, ok := r.Context().Value(tagsKey{}).([]string); ok {
		params["tag"] = tags
	}
	r.URL.RawQuery = params.Encode()
	return d.next.RoundTrip(r)
}

// bounded gives ctx the timeout unless it has a deadline already.
func bounded(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, timeout)
}

// pinned returns a client with a connection of its own, that stays with the agent it
// reaches first. One caller at a time keeps it at one connection. broke is called when
// one has ended.
func (a *agent) pinned(dial dialFunc, patience time.Duration, broke func()) (*agent, error) {
	if dial == nil {
		dial = networkDial
	}
	own, err := newAgent(a.endpoint, (&pin{dial: dial, patience: patience, broke: broke}).DialContext)
	if err != nil {
		return nil, err
	}
	own.transport.IdleConnTimeout = 0 // the heart-beat keeps it in use
	return own, nil
}
