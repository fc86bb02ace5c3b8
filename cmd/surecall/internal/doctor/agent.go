package doctor

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"syscall"

	"github.com/hashicorp/consul/api"
)

// agent asks for the version, which every Consul tells everybody.
func (w *walk) agent(ctx context.Context) bool {
	var version struct{ HumanVersion string }
	_, err := w.client.Raw().Query("/v1/agent/version", &version, options(ctx))
	if err == nil && version.HumanVersion != "" {
		return w.ok("agent", "Consul %.40s at %s", version.HumanVersion, w.agentName)
	}
	// One of before 1.10 has no such path.
	var self map[string]any
	if _, old := w.client.Raw().Query("/v1/agent/self", &self, options(ctx)); old == nil && self["Config"] != nil || refusal(old) {
		return w.ok("agent", "Consul at %s", w.agentName)
	}
	what, remedy := w.agentFault(err)
	return w.fault("agent", what, remedy)
}

// refusal reports whether err is Consul's own way to say that a token may not.
func refusal(err error) bool {
	var status api.StatusError
	return errors.As(err, &status) && status.Code == http.StatusForbidden &&
		(strings.Contains(status.Body, "Permission denied") || strings.Contains(status.Body, "ACL not found"))
}

// agentFault says why there is no answer of a Consul, and what to do.
func (w *walk) agentFault(err error) (what, remedy string) {
	var request *url.Error
	if errors.As(err, &request) {
		err = request.Err
	}
	var (
		status    api.StatusError
		authority x509.UnknownAuthorityError
		name      x509.HostnameError
		invalid   x509.CertificateInvalidError
		dns       *net.DNSError
		syntax    *json.SyntaxError
	)
	at := " at " + w.agentName
	switch {
	case err == nil:
		return "what answers" + at + " is no Consul agent", otherAddress
	case errors.As(err, &status):
		return w.statusFault(status)
	case errors.As(err, &authority):
		return "the agent" + at + " has a certificate of an unknown authority", "set CONSUL_CACERT to the file of the authority that signed it (ca-file in the target)"
	case errors.As(err, &name):
		return "the agent" + at + " has a certificate for another name: " + w.short(name.Error()), "set CONSUL_TLS_SERVER_NAME to a name that it has (server-name in the target)"
	case errors.As(err, &invalid):
		return "the agent" + at + " has an invalid certificate: " + w.short(invalid.Error()), "renew the agent's certificate: consul tls cert create, then consul reload"
	case isAlert(err):
		return "the agent" + at + " refuses the TLS connection: " + w.short(err.Error()), "set CONSUL_CLIENT_CERT and CONSUL_CLIENT_KEY to a certificate that it accepts (cert-file and key-file in the target)"
	case strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return "the agent" + at + " answers without TLS, and https is asked for", "unset CONSUL_HTTP_SSL and write http:// (scheme=http in the target), or name the agent's https port"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nothing listens" + at + ": connection refused", "start the agent, or set CONSUL_HTTP_ADDR (host:port in the target) to where it listens"
	case errors.As(err, &dns):
		return fmt.Sprintf("the agent's name %q does not resolve", dns.Name), "set CONSUL_HTTP_ADDR (host:port in the target) to the agent's address"
	case isTimeout(err):
		return fmt.Sprintf("the agent%s gives no answer within %v", at, w.options.Timeout), "look whether the agent hangs or a firewall drops packets to it: consul members, consul monitor on its host"
	case errors.As(err, &syntax):
		return "what answers" + at + " is no Consul agent: its answer is no JSON", otherAddress
	case isMuddle(err):
		return "what answers" + at + " speaks no HTTP: " + w.short(err.Error()), otherAddress
	}
	return "the agent" + at + " cannot be asked: " + w.short(err.Error()), otherAddress
}

const otherAddress = "set CONSUL_HTTP_ADDR (host:port in the target) to the agent's HTTP address; its port is 8500 unless configured otherwise"

func (w *walk) statusFault(s api.StatusError) (what, remedy string) {
	at := " at " + w.agentName
	switch {
	case s.Code == http.StatusBadRequest && strings.Contains(s.Body, "HTTPS server"):
		return "the agent" + at + " speaks TLS, and http is asked for", "set CONSUL_HTTP_SSL=true and CONSUL_CACERT (scheme=https and ca-file in the target)"
	case s.Code == http.StatusUnauthorized:
		return "a proxy before the agent" + at + " wants HTTP authentication", "set CONSUL_HTTP_AUTH=user:password"
	case s.Code == http.StatusTooManyRequests:
		return "the agent" + at + " refuses connections: it has too many of this host", "raise limits.http_max_conns_per_client of the agent, or share one client per process"
	case s.Code == http.StatusForbidden:
		return "the agent" + at + " refuses requests from here: " + w.short(s.Body), "look at http_config.allow_write_http_from and at the proxy before the agent"
	}
	return fmt.Sprintf("what answers%s is no Consul agent: %d %s", at, s.Code, w.short(s.Body)), otherAddress
}

// leader looks whether the servers behind the agent can answer.
func (w *walk) leader(ctx context.Context) bool {
	for _, dc := range append([]string{w.query.Datacenter}, w.query.Failover...) {
		known, err := w.datacenters(ctx)
		if dc != "" && err == nil && !slices.ContainsFunc(known, func(name string) bool { return strings.EqualFold(name, dc) }) {
			remedy := "consul catalog datacenters lists them; join the other one with retry_join_wan"
			if near := similar(dc, known); len(near) > 0 {
				remedy = "write dc=" + near[0]
			}
			return w.fault("leader", fmt.Sprintf("Consul knows no datacenter %q: it knows %s", dc, some(known)), remedy)
		}
	}
	q := options(ctx)
	q.Datacenter = w.query.Datacenter
	address, err := w.client.Status().LeaderWithQueryOptions(q)
	if err != nil || address == "" {
		why := ""
		if err != nil {
			why = ": " + w.consulProblem(err)
		}
		return w.fault("leader", "Consul's servers have no leader"+why,
			"start a majority of the servers and let them reach each other: consul operator raft list-peers, consul monitor on a server")
	}
	health, err := w.client.Operator().AutopilotServerHealth(q)
	var dead []string
	if err == nil {
		for _, s := range health.Servers {
			if s.SerfStatus != "alive" {
				dead = append(dead, s.Name)
			}
		}
	}
	if len(dead) > 0 {
		return w.warn("leader", fmt.Sprintf("%s leads, but %d of %d servers are not alive: %s", address, len(dead), len(health.Servers), some(dead)),
			"start them again, or remove them: consul operator raft remove-peer")
	}
	return w.ok("leader", "%s leads", address)
}

// datacenters are those that Consul knows.
func (w *walk) datacenters(ctx context.Context) (known []string, err error) {
	_, err = w.client.Raw().Query("/v1/catalog/datacenters", &known, options(ctx))
	return known, err
}

func options(ctx context.Context) *api.QueryOptions { return (&api.QueryOptions{}).WithContext(ctx) }

// consulProblem is an error of Consul without the URL.
func (w *walk) consulProblem(err error) string {
	var status api.StatusError
	if errors.As(err, &status) {
		return fmt.Sprintf("it answers %d: %s", status.Code, w.short(status.Body))
	}
	var request *url.Error
	if errors.As(err, &request) {
		err = request.Err
	}
	return w.short(err.Error())
}

// isAlert reports whether the other side ended a TLS handshake with an alert.
func isAlert(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}

func isTimeout(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
}

// isMuddle reports whether err is of an answer that makes no sense.
func isMuddle(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || strings.Contains(err.Error(), "malformed HTTP")
}
