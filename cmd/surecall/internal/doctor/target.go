package doctor

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/consul/api"

	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/discovery/consul"
	"github.com/surecall/surecall/discovery/static"
)

// target takes the target apart as a client would.
func (w *walk) target(ctx context.Context) bool {
	text := w.options.Target
	w.noteWritten(text)
	w.report.Target = fit(w.secrets.hide(beforeQuery(text)))
	u, err := url.Parse(text)
	isURL := strings.Contains(text, "://")
	switch {
	case !isURL && isHostPort(text):
		u = &url.URL{Scheme: "dns", Path: "/" + text}
	case err != nil:
		return w.fault("target", "the target is no URL: "+urlProblem(err), "write scheme:///service?key=value, for example consul:///orders, and percent-encode what is special")
	case !isURL && u.Scheme == "":
		return w.fault("target", fmt.Sprintf("the target %q has no scheme", beforeQuery(text)), "write consul:///"+strings.Trim(beforeQuery(text), "/"))
	case !isURL && u.Scheme == "consul":
		return w.fault("target", "the target has no slashes after its scheme", "write consul:///"+strings.Trim(beforeQuery(u.Opaque), "/"))
	}
	w.scheme = u.Scheme
	w.report.Target = fit(w.secrets.hide(shown(u)))
	switch u.Scheme {
	case "consul":
		return w.consulTarget(u)
	case static.Scheme:
		return w.staticTarget(u)
	case "dns":
		return w.dnsTarget(ctx, u)
	case "memory":
		return w.fault("target", "a registry in memory lives within its process", "examine a target of consul, static or dns")
	case "http", "https":
		return w.fault("target", "an address of the web is no target of a client", "write consul:///service, static:///host:port or dns:///host:port; surecall list shows a status page")
	default:
		return w.fault("target", fmt.Sprintf("the scheme %q is unknown here", u.Scheme), "write consul:///service, static:///host:port or dns:///host:port")
	}
}

func (w *walk) consulTarget(u *url.URL) bool {
	config, query, err := consul.ParseTarget(u)
	config.TokenFile = cmp.Or(w.options.TokenFile, config.TokenFile)
	w.noteSecrets(config)
	if err != nil {
		remedy := "write consul:///SERVICE?key=value; `go doc github.com/surecall/surecall/discovery/consul` lists the keys"
		if query.Service == "" && u.Host != "" {
			remedy = fmt.Sprintf("write three slashes: consul:///%s", u.Host)
		}
		return w.fault("target", problemsOf(err), remedy)
	}
	if elements := strings.Split(query.Service, "/"); slices.Contains(elements, "..") || slices.Contains(elements, ".") {
		return w.fault("target", fmt.Sprintf("the service %q has an element . or ..", query.Service), "write the service's name as it is registered")
	}
	source, err := consul.New(config)
	if err != nil {
		return w.fault("target", problemsOf(err), "correct the path, in the target, the flag or the CONSUL_ environment that names it, and its permissions")
	}
	w.source, w.client, w.query = source, source.Client(), query
	w.end = func() { _ = source.Close() }
	w.authority = query.Service + ".service.consul"
	w.agentName, _, _ = strings.Cut(strings.TrimPrefix(source.String(), "consul at "), ", ")
	return w.ok("target", "service %q of Consul at %s", query.Service, w.agentName)
}

func (w *walk) staticTarget(u *url.URL) bool {
	source, query, err := static.ParseTarget(u)
	if err != nil {
		return w.fault("target", problemsOf(err), "write static:///host:port,host:port; `go doc github.com/surecall/surecall/discovery/static` says more")
	}
	w.source, w.query, w.authority = source, query, query.Service
	return w.ok("target", "service %q of a list", query.Service)
}

// dnsTarget finds instances as gRPC's own resolver does.
func (w *walk) dnsTarget(ctx context.Context, u *url.URL) bool {
	name := strings.TrimPrefix(cmp.Or(u.Path, u.Opaque), "/")
	host, port, err := net.SplitHostPort(name)
	if err != nil {
		host, port = strings.Trim(name, "[]"), "443" // gRPC's default
	}
	if host == "" {
		return w.fault("target", "the target names no host", "write dns:///host:port")
	}
	addresses, err := resolverAt(u.Host).LookupHost(ctx, host)
	if err != nil {
		return w.fault("target", fmt.Sprintf("%q does not resolve: %s", host, short(dialProblem(err))), "correct the name, or the records of its DNS zone: dig "+host)
	}
	var set []discovery.Instance
	for _, a := range addresses {
		set = append(set, discovery.Instance{Address: net.JoinHostPort(a, port)})
	}
	source, err := static.New(set...)
	if err != nil {
		return w.fault("target", problemsOf(err), "write dns:///host:port")
	}
	w.source, w.query, w.authority = source, discovery.Query{Service: host}, host
	return w.ok("target", "%q resolves to %s: %s", host, count(len(addresses), "address"), some(addresses))
}

// resolverAt asks the DNS server that a target names, or those of this host.
func resolverAt(server string) *net.Resolver {
	if server == "" {
		return net.DefaultResolver
	}
	if _, _, err := net.SplitHostPort(server); err != nil {
		server = net.JoinHostPort(strings.Trim(server, "[]"), "53")
	}
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, server)
	}}
}

// written is how a target may hold a token or a password, well-formed or not.
var written = regexp.MustCompile(`(?i)[?&]token=([^&#]*)|^[^?]*:/*(?:[^?:@]*:)?([^?:@]*)@`)

// noteWritten remembers the secrets in the text of a target.
func (w *walk) noteWritten(text string) {
	for _, match := range written.FindAllStringSubmatch(text, -1) {
		for _, secret := range match[1:] {
			plain, _ := url.QueryUnescape(secret)
			w.secrets.add(secret, plain)
		}
	}
}

// noteSecrets remembers what no line may have, and where the token comes from.
func (w *walk) noteSecrets(c consul.Config) {
	file := c.TokenFile
	switch {
	case w.options.TokenFile != "":
		w.tokenFrom = "-token-file"
	case c.TokenFile != "":
		w.tokenFrom = "token-file in the target"
	case c.Token != "":
		w.tokenFrom = "token in the target"
	case os.Getenv(api.HTTPTokenFileEnvName) != "":
		w.tokenFrom, file = api.HTTPTokenFileEnvName, os.Getenv(api.HTTPTokenFileEnvName)
	case os.Getenv(api.HTTPTokenEnvName) != "":
		w.tokenFrom = api.HTTPTokenEnvName
	}
	_, password, _ := strings.Cut(os.Getenv(api.HTTPAuthEnvName), ":")
	w.secrets.add(c.Token, c.Password, os.Getenv(api.HTTPTokenEnvName), password)
	if u, err := url.Parse(os.Getenv(api.HTTPAddrEnvName)); err == nil && u.User != nil {
		password, _ = u.User.Password()
		w.secrets.add(password)
	}
	if file != "" {
		text, _ := os.ReadFile(file) // one that cannot be read is told of when it is used
		w.secrets.add(string(text))
	}
}

// shown is u without password and token.
func shown(u *url.URL) string {
	copied := *u
	copied.User, copied.RawQuery, copied.Fragment = nil, "", ""
	values, _ := url.ParseQuery(u.RawQuery)
	var params []string
	for key, list := range values {
		for _, v := range list {
			if strings.EqualFold(key, "token") {
				v = "***"
			}
			params = append(params, key+"="+v)
		}
	}
	slices.Sort(params)
	text := copied.String()
	if len(params) > 0 {
		text += "?" + strings.Join(params, "&")
	}
	return text
}

// problemsOf joins the lines of err into one.
func problemsOf(err error) string {
	lines := strings.Split(err.Error(), "\n")
	for i, line := range lines {
		for _, prefix := range []string{"discovery/consul: ", "discovery/static: ", "target: "} {
			line = strings.TrimPrefix(line, prefix)
		}
		lines[i] = line
	}
	return strings.Join(lines, "; ")
}

// urlProblem is why a URL cannot be parsed, without the URL.
func urlProblem(err error) string {
	if broken, ok := err.(*url.Error); ok {
		return broken.Err.Error()
	}
	return err.Error()
}

func beforeQuery(text string) string {
	text, _, _ = strings.Cut(text, "?")
	if scheme, rest, ok := strings.Cut(text, "://"); ok {
		if at := strings.LastIndexByte(rest, '@'); at >= 0 {
			text = scheme + "://***" + rest[at:]
		}
	}
	return text
}

func isHostPort(text string) bool {
	host, port, err := net.SplitHostPort(text)
	return err == nil && host != "" && port != "" && !strings.Contains(text, "/") && strings.Trim(port, "0123456789") == ""
}
