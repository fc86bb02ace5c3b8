package status

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// secure sets what every answer has, refusals too.
func secure(h http.Header) {
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "+
		"img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}

// refuse says why r is not answered; empty: it is.
func (p *page) refuse(r *http.Request) string {
	if !p.known(hostname(r.Host)) {
		return fmt.Sprintf("the status page is not served under the name %q: use an IP address or localhost, "+
			"or allow the name with status.WithHosts", clean(r.Host, 100))
	}
	for _, origin := range r.Header["Origin"] {
		if u, err := url.Parse(origin); err != nil || !strings.EqualFold(u.Host, r.Host) {
			return fmt.Sprintf("the status page is not served to pages of another origin: %q", clean(origin, 100))
		}
	}
	// Browsers say so of what a page of another origin fetches or embeds without an Origin.
	switch r.Header.Get("Sec-Fetch-Site") {
	case "cross-site", "same-site":
		if !followed(r) {
			return "the status page is not served to pages of another origin"
		}
	}
	return ""
}

// followed reports whether r is of a link that leads here, and no frame of another page.
func followed(r *http.Request) bool {
	if r.Header.Get("Sec-Fetch-Mode") != "navigate" {
		return false
	}
	to := r.Header.Get("Sec-Fetch-Dest")
	return to == "document" || to == ""
}

// known reports whether a name cannot have been made to resolve to this host by somebody
// else.
func (p *page) known(name string) bool {
	if _, err := netip.ParseAddr(name); err == nil {
		return true
	}
	return name == "localhost" || strings.HasSuffix(name, ".localhost") || name != "" && p.hosts[name]
}

// hostname is what a Host header names, in the one spelling that we compare.
func hostname(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	return strings.ToLower(strings.TrimSuffix(host, "."))
}
