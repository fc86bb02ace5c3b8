package admin

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// guard refuses what a browser was talked into.
type guard struct {
	origin *http.CrossOriginProtection
	hosts  map[string]bool
}

func newGuard(hosts []string) guard {
	g := guard{origin: http.NewCrossOriginProtection(), hosts: map[string]bool{"localhost": true}}
	for _, h := range hosts {
		g.hosts[canonical(h)] = true
	}
	return g
}

// check says why a request that changes something is refused; nil if it is not.
func (g guard) check(r *http.Request) error {
	if !g.knows(r.Host) {
		return fmt.Errorf("Host %q: want an IP address, localhost or a name that the endpoint was given", r.Host)
	}
	// The protection lets every GET pass: it takes for granted that GET changes nothing.
	posted := r.WithContext(r.Context())
	posted.Method = http.MethodPost
	if err := g.origin.Check(posted); err != nil {
		return fmt.Errorf("Origin %q, Sec-Fetch-Site %q: want a request that no page of another site makes",
			r.Header.Get("Origin"), r.Header.Get("Sec-Fetch-Site"))
	}
	return nil
}

// knows reports whether a request may be addressed to host. An IP address needs no
// listing: a page that rebinds its name comes under that name, and one that is served
// from an address is told by its Origin.
func (g guard) knows(host string) bool {
	if host == "" {
		return true // HTTP/1.0: no browser of today
	}
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	if _, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil {
		return true
	}
	return g.hosts[canonical(name)]
}

func canonical(host string) string {
	return strings.ToLower(strings.TrimSuffix(host, "."))
}
