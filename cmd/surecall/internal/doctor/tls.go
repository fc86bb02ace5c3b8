package doctor

import (
	"cmp"
	"context"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"
)

// soon is how long before its end a certificate is warned of.
const soon = 14 * 24 * time.Hour

// serverName is the name that a client checks the instance's certificate against.
func (w *walk) serverName(p *probe) string {
	return cmp.Or(w.options.ServerName, p.ServerName, w.authority)
}

// certified judges the certificate of an instance that speaks TLS.
func (w *walk) certified(_ context.Context, p *probe) *finding {
	s := p.spoke
	if !s.tls {
		return nil
	}
	f := &finding{stage: "tls"}
	switch {
	case isAlert(s.secret):
		f.what, f.remedy = "refuses the TLS connection: "+short(dialProblem(s.secret)), w.handshakeRemedy(s)
		return f
	case s.state.NegotiatedProtocol != "h2":
		f.what, f.remedy = withoutHTTP2, offerHTTP2
		return f
	case s.secret != nil:
		f.what, f.remedy = "speaks TLS, and hangs up or is silent after the handshake: "+short(dialProblem(s.secret)), "look at the server's log"
		return f
	}
	now := time.Now()
	if f := judge(s.state.PeerCertificates, w.roots, w.serverName(p), now); f != nil {
		return f
	}
	leaf := s.state.PeerCertificates[0]
	p.ends = leaf.NotAfter
	p.until = fmt.Sprintf("certificates for %s, valid until %s", w.serverName(p), leaf.NotAfter.UTC().Format(time.DateOnly))
	if leaf.NotAfter.Sub(now) < soon {
		p.warns = append(p.warns, finding{"tls", "the certificate ends at " + leaf.NotAfter.UTC().Format(time.RFC3339), "renew it, and look why it was not renewed by itself"})
	}
	return nil
}

const (
	withoutHTTP2 = "speaks TLS, and does not offer HTTP/2 in it (ALPN)"
	offerHTTP2   = `let what ends the TLS offer "h2": gRPC refuses connections without; or register the port of the gRPC server`
)

// noHTTP2 reports whether a server ended the handshake because it was offered HTTP/2 alone.
func noHTTP2(err error) bool {
	return isAlert(err) && strings.Contains(err.Error(), "no application protocol")
}

// judge checks a chain: dates, authority and name, each for itself, since they have
// different remedies.
func judge(chain []*x509.Certificate, roots *x509.CertPool, name string, now time.Time) *finding {
	f := &finding{stage: "tls"}
	if len(chain) == 0 {
		f.what, f.remedy = "shows no certificate", "give the server one"
		return f
	}
	leaf := chain[0]
	for _, c := range chain {
		switch {
		case now.After(c.NotAfter):
			f.what, f.remedy = fmt.Sprintf("the certificate of %q ended at %s", subject(c), c.NotAfter.UTC().Format(time.RFC3339)), "renew the certificate and restart or reload the server"
			return f
		case now.Before(c.NotBefore):
			f.what, f.remedy = fmt.Sprintf("the certificate of %q begins at %s", subject(c), c.NotBefore.UTC().Format(time.RFC3339)), "set the clocks of both hosts"
			return f
		}
	}
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: now}); err != nil {
		f.what = fmt.Sprintf("the certificate comes from an authority that is not trusted here, %q", short(cmp.Or(leaf.Issuer.CommonName, leaf.Issuer.String())))
		f.remedy = "name the authority's file with -ca here, and in the RootCAs of the client's TransportCredentials"
		if roots != nil {
			f.remedy = "name the file of that authority with -ca, or let the server send its whole chain"
		}
		return f
	}
	if err := leaf.VerifyHostname(name); err != nil {
		f.what = fmt.Sprintf("the certificate is not for %q: it is for %s", name, cmp.Or(some(namesOf(leaf)), "no name at all"))
		f.remedy = fmt.Sprintf("issue it for %s too, register the name that it has (discovery.Registration.ServerName), or see what a ServerName does with -server-name", name)
		return f
	}
	return nil
}

// handshakeRemedy is what to do about a server that ends the handshake.
func (w *walk) handshakeRemedy(s spoke) string {
	switch {
	case s.wanted && len(w.own) == 0:
		return "it wants a client certificate: name one with -cert and -key here, and in the Certificates of the client's TransportCredentials"
	case s.wanted:
		return "it does not accept the client certificate: use one of an authority that the server trusts (its ClientCAs)"
	default:
		return "look for the TLS versions, names and protocols (h2) that the server accepts"
	}
}

func subject(c *x509.Certificate) string {
	return short(cmp.Or(c.Subject.CommonName, c.Subject.String()))
}

// namesOf are the names and addresses that a certificate is for.
func namesOf(c *x509.Certificate) []string {
	list := slices.Clone(c.DNSNames)
	for _, ip := range c.IPAddresses {
		list = append(list, ip.String())
	}
	for i := range list {
		list[i] = short(list[i])
	}
	return list
}
