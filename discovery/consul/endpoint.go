package consul

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/hashicorp/consul/api"
)

// endpoint is a Config with every default and the environment filled in.
type endpoint struct {
	Config
	host   string // "host:port", of the agent or its proxy; a placeholder with socket
	socket string // path of a unix socket, or empty
	prefix string // path before /v1
}

// resolve fills in the environment and reports all that is wrong, joined.
func (c Config) resolve() (endpoint, error) {
	var errs []error
	fail := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("discovery/consul: "+format, args...))
	}
	for _, name := range []string{api.HTTPSSLEnvName, api.HTTPSSLVerifyEnvName} {
		if v := os.Getenv(name); v != "" {
			if _, err := strconv.ParseBool(v); err != nil {
				fail("environment %s %q: want a boolean", name, v)
			}
		}
	}
	if len(errs) > 0 {
		return endpoint{}, errors.Join(errs...) // the client would log it and guess
	}
	e := endpoint{Config: c.withEnvironment(api.DefaultConfig())}
	e.split(fail)
	if e.Scheme != "http" && e.Scheme != "https" {
		fail("Scheme %q: want http or https", e.Scheme)
	}
	if e.WaitTime < MinWaitTime || e.WaitTime > MaxWaitTime {
		fail("WaitTime %v: want 0 (means %v) or %v to %v", e.WaitTime, DefaultWaitTime, MinWaitTime, MaxWaitTime)
	}
	if e.Refresh < MinRefresh || e.Refresh > MaxRefresh {
		fail("Refresh %v: want 0 (means %v) or %v to %v", e.Refresh, DefaultRefresh, MinRefresh, MaxRefresh)
	}
	if (e.TLS.CertFile == "") != (e.TLS.KeyFile == "") || (len(e.TLS.CertPEM) == 0) != (len(e.TLS.KeyPEM) == 0) {
		fail("TLS: a client certificate needs its key and a key its certificate: want both or neither")
	}
	return e, errors.Join(errs...)
}

// withEnvironment fills the empty fields of c from env, as the client of Consul does.
func (c Config) withEnvironment(env *api.Config) Config {
	or := func(field *string, value string) {
		if *field == "" {
			*field = value
		}
	}
	if c.Token == "" && c.TokenFile == "" {
		c.Token, c.TokenFile = env.Token, env.TokenFile
	}
	if env.HttpAuth != nil && c.Username == "" && c.Password == "" {
		c.Username, c.Password = env.HttpAuth.Username, env.HttpAuth.Password
	}
	or(&c.Address, env.Address)
	or(&c.Scheme, env.Scheme)
	or(&c.Namespace, env.Namespace)
	or(&c.Partition, env.Partition)
	or(&c.TLS.Address, env.TLSConfig.Address)
	or(&c.TLS.CAFile, env.TLSConfig.CAFile)
	or(&c.TLS.CAPath, env.TLSConfig.CAPath)
	if len(c.TLS.CertPEM) == 0 && c.TLS.CertFile == "" && c.TLS.KeyFile == "" {
		c.TLS.CertFile, c.TLS.KeyFile = env.TLSConfig.CertFile, env.TLSConfig.KeyFile
	}
	c.TLS.InsecureSkipVerify = c.TLS.InsecureSkipVerify || env.TLSConfig.InsecureSkipVerify
	if c.WaitTime == 0 {
		c.WaitTime = DefaultWaitTime
	}
	if c.Refresh == 0 {
		c.Refresh = DefaultRefresh
	}
	return c
}

// split takes the address apart.
func (e *endpoint) split(fail func(string, ...any)) {
	shown := redactUser(e.Address)
	if path, ok := strings.CutPrefix(e.Address, "unix://"); ok {
		e.socket, e.host = path, "localhost"
		if path == "" {
			fail("Address %q: want unix:///path/to/socket", shown)
		}
		return
	}
	address := e.Address
	if !strings.Contains(address, "://") {
		address = e.Scheme + "://" + address
	}
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Host == "" || u.RawQuery != "" || u.Fragment != "":
		fail("Address %q: want host:port, http(s)://host:port/prefix or unix:///path", shown)
		return
	case u.Scheme == "https":
		e.Scheme = "https" // never back to http when TLS was asked for
	case u.Scheme != "http":
		fail("Address %q: scheme %q: want http, https or unix", shown, u.Scheme)
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			fail("Address %q: port %q: want 1 to 65535", shown, port)
		}
	}
	if u.User != nil && e.Username == "" && e.Password == "" {
		e.Username = u.User.Username()
		e.Password, _ = u.User.Password()
	}
	e.host, e.prefix = u.Host, strings.TrimRight(u.Path, "/")
	if u.Port() == "" && !strings.Contains(e.Address, "://") {
		e.host = net.JoinHostPort(u.Hostname(), "8500")
	}
}

// key tells two endpoints apart; it holds secrets and must never be shown.
func (e endpoint) key() string {
	t := e.TLS
	return fmt.Sprintf("%q", []string{
		e.host, e.socket, e.prefix, e.Scheme, e.Username, e.Password, e.Token, e.TokenFile,
		e.Datacenter, e.Namespace, e.Partition, e.WaitTime.String(), e.Refresh.String(),
		t.Address, t.CAFile, t.CAPath, string(t.CAPem), t.CertFile, string(t.CertPEM), t.KeyFile, string(t.KeyPEM),
		strconv.FormatBool(t.InsecureSkipVerify),
	})
}

// name is how the agent appears in errors.
func (e endpoint) name() string {
	if e.socket != "" {
		return "unix:" + e.socket
	}
	return e.host
}

// redactUser takes user and password out of an address.
func redactUser(address string) string {
	scheme, rest, ok := strings.Cut(address, "://")
	if !ok {
		scheme, rest = "", address
	} else {
		scheme += "://"
	}
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		rest = "***@" + rest[at+1:]
	}
	return scheme + rest
}
