package consul

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/surecall/surecall/discovery"
)

// target collects what the parameters of a target say.
type target struct {
	config Config
	query  discovery.Query
	accept string // the parameter that set query.Accept, for a conflict

	refresh time.Duration // counts with a prepared query only
	polls   bool          // whether refresh is given
}

// parameter is one key of a target.
type parameter struct {
	name  string
	takes string // what a value must look like, for errors
	set   func(t *target, value string) error
}

var errValue = errors.New("cannot be used")

// field sets a string that may not be empty.
func field(of func(*target) *string) func(*target, string) error {
	return func(t *target, v string) error {
		if v == "" {
			return errValue
		}
		*of(t) = v
		return nil
	}
}

// parameters are all keys a target may have, sorted. Those of other resolvers that
// mean nothing here are checked and ignored; the package comment says why.
var parameters = []parameter{
	{"address", "the name of a tagged address", field(func(t *target) *string { return &t.query.TaggedAddress })},
	{"allow-stale", "a boolean", ignored(isBool)},
	{"ca-file", "a path", field(func(t *target) *string { return &t.config.TLS.CAFile })},
	{"cert-file", "a path", field(func(t *target) *string { return &t.config.TLS.CertFile })},
	{"dc", "datacenters with commas between, each once, first the one to use first", setDatacenters},
	{"filter", "a filter expression", field(func(t *target) *string { return &t.query.Filter })},
	{"health", "healthy or fallbackToUnhealthy", setHealth},
	{"healthy", "a boolean", setHealthy},
	{"insecure", "a boolean", setInsecure},
	{"key-file", "a path", field(func(t *target) *string { return &t.config.TLS.KeyFile })},
	{"limit", "a number of at least 0", ignored(isCount)},
	{"max-backoff", "a duration such as 1s", ignored(isDuration)},
	{"near", "a node or _agent", field(func(t *target) *string { return &t.query.Near })},
	{"ns", "a namespace", field(func(t *target) *string { return &t.query.Namespace })},
	{"partition", "a partition", field(func(t *target) *string { return &t.query.Partition })},
	{"peer", "a peer", field(func(t *target) *string { return &t.query.Peer })},
	{"port", "the name of a port", field(func(t *target) *string { return &t.query.Port })},
	{"prepared-query", "the name or ID of a prepared query", field(func(t *target) *string { return &t.query.Prepared })},
	{"refresh", "a duration such as 1s", setRefresh},
	{"require-consistent", "a boolean", ignored(isBool)},
	{"scheme", "http or https", setScheme},
	{"server-name", "the name in the agent's certificate", field(func(t *target) *string { return &t.config.TLS.Address })},
	{"tag", "a tag", setTag},
	{"tags", "tags with commas between", setTags},
	{"timeout", "a duration such as 1s", ignored(isDuration)},
	{"token", "an ACL token", field(func(t *target) *string { return &t.config.Token })},
	{"token-file", "a path", field(func(t *target) *string { return &t.config.TokenFile })},
	{"wait", "a duration from 1s to 10m", setWait},
}

// ParseTarget reads "consul://[user:password@][agent:port]/service?key=value&…". The
// package comment lists the keys. Everything that is wrong is reported at once; a
// value of token is never shown.
func ParseTarget(u *url.URL) (Config, discovery.Query, error) {
	var t target
	var errs []error
	fail := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("discovery/consul: target: "+format, args...))
	}
	t.config.Address = u.Host
	if u.User != nil {
		t.config.Username = u.User.Username()
		t.config.Password, _ = u.User.Password()
	}
	path := u.Path
	if path == "" {
		path = u.Opaque // "consul:orders"
	}
	t.query.Service = strings.Trim(path, "/")
	if t.query.Service == "" {
		hint := ""
		if u.Host != "" && u.Port() == "" {
			hint = fmt.Sprintf(": for the service %q on the default agent write consul:///%s", u.Host, u.Host)
		}
		fail("service is missing: want consul://agent:port/service%s", hint)
	}
	values, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		fail("parameters: want key=value&…, percent-encoded")
	}
	folded := make(map[string][]string, len(values))
	for _, key := range slices.Sorted(maps.Keys(values)) {
		low := strings.ToLower(key)
		folded[low] = append(folded[low], values[key]...)
	}
	for _, key := range slices.Sorted(maps.Keys(folded)) {
		if err := t.apply(key, folded[key]); err != nil {
			fail("%w", err)
		}
	}
	if t.query.Peer != "" && len(t.query.Failover) > 0 {
		fail("dc names %d datacenters and peer %q is given too: want one of them", 1+len(t.query.Failover), t.query.Peer)
	}
	for _, err := range preparedConflicts(t.query, true) {
		fail("%w", err)
	}
	if t.query.Prepared != "" && t.polls {
		t.config.Refresh = t.refresh
		if t.refresh == 0 {
			fail("refresh 0s: want %v to %v", MinRefresh, MaxRefresh)
		}
	}
	if err := t.config.Validate(); err != nil {
		errs = append(errs, err)
	}
	return t.config, t.query, errors.Join(errs...)
}

// apply sets one parameter. key is in lower case; only tag and tags may have several values.
func (t *target) apply(key string, values []string) error {
	i := slices.IndexFunc(parameters, func(p parameter) bool { return p.name == key })
	if i < 0 {
		names := make([]string, len(parameters))
		for i, p := range parameters {
			names[i] = p.name
		}
		return fmt.Errorf("%q is unknown: want one of %s", key, strings.Join(names, ", "))
	}
	p := parameters[i]
	if len(values) > 1 && p.name != "tag" && p.name != "tags" {
		return fmt.Errorf("%s is given %d times: want once", p.name, len(values))
	}
	for _, v := range values {
		shown := strconv.Quote(v)
		if p.name == "token" {
			shown = "(hidden)"
		}
		if err := p.set(t, v); errors.Is(err, errValue) {
			return fmt.Errorf("%s %s: want %s", p.name, shown, p.takes)
		} else if err != nil {
			return fmt.Errorf("%s %s: %w", p.name, shown, err)
		}
	}
	return nil
}

func setTag(t *target, v string) error {
	if v == "" {
		return errValue
	}
	t.query.Tags = append(t.query.Tags, v)
	return nil
}

func setTags(t *target, v string) error {
	for tag := range strings.SplitSeq(v, ",") {
		if err := setTag(t, strings.TrimSpace(tag)); err != nil {
			return err
		}
	}
	return nil
}

// setDatacenters reads the datacenter to use and those to turn to in its place.
func setDatacenters(t *target, v string) error {
	var all []string
	for dc := range strings.SplitSeq(v, ",") {
		dc = strings.TrimSpace(dc)
		if dc == "" || slices.ContainsFunc(all, func(seen string) bool { return strings.EqualFold(seen, dc) }) {
			return errValue
		}
		all = append(all, dc)
	}
	t.query.Datacenter, t.query.Failover = all[0], all[1:]
	if len(all) == 1 {
		t.query.Failover = nil
	}
	return nil
}

func setHealthy(t *target, v string) error {
	healthy, err := strconv.ParseBool(v)
	switch {
	case err != nil:
		return errValue
	case healthy:
		return t.setAccept("healthy", discovery.AcceptPassing)
	default:
		return t.setAccept("healthy", discovery.AcceptAny)
	}
}

func setHealth(t *target, v string) error {
	switch strings.ToLower(v) {
	case "healthy":
		return t.setAccept("health", discovery.AcceptUsable)
	case "fallbacktounhealthy":
		return t.setAccept("health", discovery.AcceptPrefer)
	}
	return errValue
}

func (t *target) setAccept(name string, a discovery.Accept) error {
	if t.accept != "" {
		return fmt.Errorf("%s is given too: want one of them", t.accept)
	}
	t.accept, t.query.Accept = name, a
	return nil
}

func setInsecure(t *target, v string) error {
	insecure, err := strconv.ParseBool(v)
	if err != nil {
		return errValue
	}
	t.config.TLS.InsecureSkipVerify = insecure
	return nil
}

func setScheme(t *target, v string) error {
	t.config.Scheme = strings.ToLower(v)
	if t.config.Scheme != "http" && t.config.Scheme != "https" {
		t.config.Scheme = ""
		return errValue
	}
	return nil
}

func setWait(t *target, v string) error {
	wait, err := time.ParseDuration(v)
	if err != nil || wait < MinWaitTime || wait > MaxWaitTime {
		return errValue
	}
	t.config.WaitTime = wait
	return nil
}

func setRefresh(t *target, v string) error {
	if !isDuration(v) {
		return errValue
	}
	t.polls = true
	t.refresh, _ = time.ParseDuration(v)
	return nil
}

// ignored accepts a value that is well-formed and does nothing with it.
func ignored(valid func(string) bool) func(*target, string) error {
	return func(_ *target, v string) error {
		if !valid(v) {
			return errValue
		}
		return nil
	}
}

func isBool(v string) bool     { _, err := strconv.ParseBool(v); return err == nil }
func isCount(v string) bool    { _, err := strconv.ParseUint(v, 10, 31); return err == nil }
func isDuration(v string) bool { d, err := time.ParseDuration(v); return err == nil && d >= 0 }
