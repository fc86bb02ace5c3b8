package surecall

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	grpcresolver "google.golang.org/grpc/resolver"

	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/discovery/consul"
	"github.com/surecall/surecall/discovery/static"
)

// target is what a client's target string means.
type target struct {
	service   string
	dial      string // what gRPC is told: nothing of the query, which may hold a token
	authority string
	query     discovery.Query
	// open is nil for a target of gRPC's own, dns for example.
	open func() (discovery.Source, func(), error)
}

// ours are the schemes that gRPC, without their slashes, would take for hosts.
var ours = map[string]bool{"consul": true, "static": true, "memory": true}

// parseTarget understands
//
//	consul:///orders?tag=v2&dc=eu   instances from Consul: see package discovery/consul
//	static:///a:1,b:2               a fixed list, or a file: see package discovery/static
//	memory:///orders                what WithSource gives; so does any other scheme then
//	dns:///orders:50051             and all else that plain gRPC resolves
func parseTarget(text string, source discovery.Source) (*target, error) {
	if text == "" {
		return nil, errors.New("surecall: target is empty: want scheme:///service, for example consul:///orders")
	}
	scheme, _, isURL := strings.Cut(text, "://")
	if !isURL {
		if name, rest, ok := strings.Cut(text, ":"); ok && ours[name] && !isPort(rest) {
			return nil, fmt.Errorf("surecall: target of scheme %q without slashes: want %s:///service", name, name)
		}
		if source != nil {
			return nil, fmt.Errorf("surecall: target %q: want scheme:///service, because WithSource is given", beforeQuery(text))
		}
		return foreign(text)
	}
	u, err := url.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("surecall: target of scheme %q cannot be parsed: %w", scheme, err.(*url.Error).Err)
	}
	switch {
	case u.Scheme == "consul":
		return consulTarget(u, source)
	case source != nil:
		return sourceTarget(u, source)
	case u.Scheme == "static":
		return staticTarget(u)
	case u.Scheme == "memory":
		return nil, fmt.Errorf("surecall: target %q: want WithSource(registry) with it: a registry in memory has no address", shown(u))
	default:
		return foreign(text)
	}
}

func consulTarget(u *url.URL, source discovery.Source) (*target, error) {
	config, query, err := consul.ParseTarget(u)
	if err != nil {
		return nil, fmt.Errorf("surecall: %w", err)
	}
	t := &target{
		service: query.Service, query: query,
		dial:      "consul:///" + url.PathEscape(query.Service),
		authority: query.Service + ".service.consul",
	}
	if source != nil {
		if config.Address != "" || config.Token != "" || config.TokenFile != "" || config.Username != "" {
			return nil, fmt.Errorf("surecall: target of service %q names an agent or a token: want consul:///%s, because WithSource is given", query.Service, query.Service)
		}
		t.open = given(source)
		return t, nil
	}
	// The shared source is opened with each connection; here only to see its errors now.
	s, err := consul.Shared(config)
	if err != nil {
		return nil, fmt.Errorf("surecall: %w", err)
	}
	_ = s.Close()
	t.open = func() (discovery.Source, func(), error) {
		s, err := consul.Shared(config)
		if err != nil {
			return nil, nil, err
		}
		return s, func() { _ = s.Close() }, nil
	}
	return t, nil
}

func staticTarget(u *url.URL) (*target, error) {
	source, query, err := static.ParseTarget(u)
	if err != nil {
		return nil, fmt.Errorf("surecall: %w", err)
	}
	return &target{
		service: query.Service, query: query, dial: "static:///" + url.PathEscape(query.Service),
		authority: query.Service, open: given(source),
	}, nil
}

func sourceTarget(u *url.URL, source discovery.Source) (*target, error) {
	service := strings.Trim(u.Path, "/")
	var errs []error
	if service == "" {
		errs = append(errs, fmt.Errorf("surecall: target %q names no service: want %s:///service", shown(u), u.Scheme))
	}
	if u.Host != "" {
		errs = append(errs, fmt.Errorf("surecall: target %q: host %q: want %s:///service: the source is what WithSource gives", shown(u), u.Host, u.Scheme))
	}
	query := discovery.Query{Service: service}
	values, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		errs = append(errs, fmt.Errorf("surecall: target %q: its query cannot be parsed", shown(u)))
	}
	for key, values := range values {
		if key != "tag" {
			errs = append(errs, fmt.Errorf("surecall: target %q: unknown key %q: known is: tag", shown(u), key))
			continue
		}
		if slices.Contains(values, "") {
			errs = append(errs, fmt.Errorf("surecall: target %q: tag is empty: want tag=NAME", shown(u)))
		}
		query.Tags = append(query.Tags, values...)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return &target{
		service: service, query: query, dial: u.Scheme + ":///" + url.PathEscape(service),
		authority: service, open: given(source),
	}, nil
}

// given opens a source that the user owns.
func given(source discovery.Source) func() (discovery.Source, func(), error) {
	return func() (discovery.Source, func(), error) { return source, func() {}, nil }
}

// foreign is a target of gRPC's own resolvers.
func foreign(text string) (*target, error) {
	name := text
	if scheme, rest, isURL := strings.Cut(text, "://"); isURL {
		if grpcresolver.Get(scheme) == nil {
			return nil, fmt.Errorf("surecall: target of unknown scheme %q: want consul, static, memory (with WithSource), or one that gRPC knows (dns, passthrough, unix)", scheme)
		}
		name = rest[strings.LastIndex(rest, "/")+1:]
	}
	if name == "" {
		return nil, fmt.Errorf("surecall: target %q names nothing: want scheme:///name", beforeQuery(text))
	}
	return &target{service: name, dial: text}, nil
}

func isPort(text string) bool {
	_, err := strconv.ParseUint(text, 10, 16)
	return err == nil
}

// shown is what an error may tell of a target: nothing of user and query, which may
// hold a token.
func shown(u *url.URL) string {
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, OmitHost: u.Host == ""}).String()
}

func beforeQuery(text string) string {
	text, _, _ = strings.Cut(text, "?")
	return text
}
