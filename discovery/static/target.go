package static

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/surecall/surecall/discovery"
)

// Scheme is the scheme of the targets that ParseTarget reads.
const Scheme = "static"

// defaultService names the service of a list that has no name.
const defaultService = "static"

// ParseTarget reads a target of the form that the package describes, and returns the
// source it stands for with the query to watch. An error names all that is wrong.
func ParseTarget(u *url.URL) (*Source, discovery.Query, error) {
	s, q, err := parseTarget(u)
	if err != nil {
		return nil, discovery.Query{}, fmt.Errorf("discovery/static: target %q: %w", u.Redacted(), err)
	}
	return s, q, nil
}

func parseTarget(u *url.URL) (*Source, discovery.Query, error) {
	none := discovery.Query{}
	switch {
	case u.Scheme != Scheme:
		return nil, none, fmt.Errorf("scheme %q: want %s", u.Scheme, Scheme)
	case u.Opaque != "" || u.Host != "" || u.User != nil:
		return nil, none, fmt.Errorf("want three slashes: %s:///host:port,host:port", Scheme)
	case u.Fragment != "":
		return nil, none, fmt.Errorf("fragment %q: want none; write # as %%23", u.Fragment)
	}
	keys, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, none, err
	}
	path := strings.TrimPrefix(u.EscapedPath(), "/")
	if keys.Has("file") {
		return fileTarget(path, keys)
	}
	return listTarget(path, keys)
}

// fileTarget reads "service?file=path&tag=t".
func fileTarget(path string, keys url.Values) (*Source, discovery.Query, error) {
	q := discovery.Query{Tags: keys["tag"]}
	service, err := url.PathUnescape(path)
	if err == nil && service == "" {
		err = errors.New("the path is empty: want the service, as in static:///orders?file=…")
	}
	if err = errors.Join(err, checkKeys(keys, "file", "tag")); err != nil {
		return nil, q, err
	}
	q.Service = service
	s, err := File(keys.Get("file"))
	return s, q, err
}

// listTarget reads "a:1;weight=3,b:2?service=name".
func listTarget(path string, keys url.Values) (*Source, discovery.Query, error) {
	q := discovery.Query{Service: defaultService}
	if keys.Has("service") {
		q.Service = keys.Get("service")
	}
	errs := []error{checkKeys(keys, "service")}
	if path == "" {
		errs = append(errs, errors.New("the list is empty: want host:port,host:port or service?file=path"))
	}
	var set []discovery.Instance
	for n, item := range strings.Split(path, ",") {
		i, err := parseItem(item)
		if err != nil && path != "" {
			errs = append(errs, fmt.Errorf("instance %d %q: %w", n+1, item, err))
		}
		set = append(set, i)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, q, err
	}
	s, err := New(set...)
	return s, q, err
}

// parseItem reads "address;weight=3;zone=eu-1".
func parseItem(item string) (discovery.Instance, error) {
	escaped, attributes, _ := strings.Cut(item, ";")
	address, err := url.PathUnescape(escaped)
	if err != nil {
		return discovery.Instance{}, err
	}
	i := discovery.Instance{Address: address}
	if err := discovery.CheckAddress(address); err != nil {
		return i, err
	}
	seen := map[string]bool{}
	for attributes != "" {
		var attribute string
		attribute, attributes, _ = strings.Cut(attributes, ";")
		key, value, _ := strings.Cut(attribute, "=")
		if value, err = url.PathUnescape(value); err != nil {
			return i, err
		}
		if seen[key] {
			return i, fmt.Errorf("%s is set twice", key)
		}
		seen[key] = true
		switch key {
		case "weight":
			i.Weight, err = strconv.Atoi(value)
			if err != nil || i.Weight < 1 || i.Weight > discovery.MaxWeight {
				return i, fmt.Errorf("weight %q: want 1 to %d", value, discovery.MaxWeight)
			}
		case "zone":
			i.Zone = value
		default:
			return i, fmt.Errorf("attribute %q: known are weight, zone", key)
		}
	}
	return i, nil
}

// checkKeys reports keys that are not known, or empty, or repeated without a meaning.
func checkKeys(keys url.Values, known ...string) error {
	var errs []error
	names := make([]string, 0, len(keys))
	for key := range keys {
		names = append(names, key)
	}
	slices.Sort(names)
	for _, key := range names {
		switch {
		case !slices.Contains(known, key):
			errs = append(errs, fmt.Errorf("key %q: known here are %s", key, strings.Join(known, ", ")))
		case slices.Contains(keys[key], ""):
			errs = append(errs, fmt.Errorf("key %q is empty", key))
		case len(keys[key]) > 1 && key != "tag":
			errs = append(errs, fmt.Errorf("key %q is given %d times: want one", key, len(keys[key])))
		}
	}
	return errors.Join(errs...)
}
