package static_test

import (
	"context"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/discovery/static"
)

// parse parses a target and returns what a watch of it first reports, in a line.
func parse(target string) (string, error) {
	u, err := url.Parse(target)
	if err != nil {
		return "", err
	}
	source, query, err := static.ParseTarget(u)
	if err != nil {
		return "", err
	}
	first, err := firstOf(source, query)
	if err != nil {
		return "", err
	}
	text := query.Service + ":"
	for _, i := range first.Instances {
		text += fmt.Sprintf(" %s/%d/%s", i.Address, i.Weight, i.Zone)
	}
	return text, nil
}

func firstOf(source *static.Source, query discovery.Query) (first discovery.Snapshot, err error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	err = source.Watch(ctx, query, func(s discovery.Snapshot) {
		first = s
		cancel()
	})
	if ctx.Err() != nil {
		err = nil
	}
	return first, err
}

func TestParseTarget(t *testing.T) {
	d := newDisk(t)
	d.writeText(t, `{"orders":[{"address":"f:1","tags":["v1"]},{"address":"f:2","tags":["v2","EU"]}]}`)
	file := "file=" + url.QueryEscape(d.path)
	for target, want := range map[string]string{
		"static:///a:1":                              "static: a:1/1/",
		"static:///a:1,b:2":                          "static: a:1/1/ b:2/1/",
		"static:///a:1,b:2?service=orders":           "orders: a:1/1/ b:2/1/",
		"static:///a:1;weight=3,b:2;zone=eu;weight=": "",
		"static:///a:1;weight=3,b:2;zone=e%2Cu":      "static: a:1/3/ b:2/1/e,u",
		"static:///[::1]:80,[2001:db8::1]:443":       "static: [::1]:80/1/ [2001:db8::1]:443/1/",
		"static:///%5B::1%5D:80":                     "static: [::1]:80/1/",
		"static:///unix:/run/o.sock,b:1":             "static: unix:/run/o.sock/1/ b:1/1/",
		"static:///unix:/run/a%2Cb%3Bc.sock;zone=z":  "static: unix:/run/a,b;c.sock/1/z",
		"static:///orders?" + file:                   "orders: f:1/1/ f:2/1/",
		"static:///orders?tag=v2&tag=eu&" + file:     "orders: f:2/1/",
		"static:///payments?" + file:                 "payments:",
	} {
		got, err := parse(target)
		if want == "" {
			if err == nil {
				t.Errorf("%s: got %q, want an error", target, got)
			}
			continue
		}
		if err != nil || got != want {
			t.Errorf("%s: got %q, %v; want %q", target, got, err, want)
		}
	}
}

func TestParseTargetRefuses(t *testing.T) {
	gone := url.QueryEscape(filepath.Join(t.TempDir(), "gone.json"))
	for target, want := range map[string]string{
		"static:///":                           "the list is empty: want host:port",
		"static:":                              "the list is empty",
		"consul:///orders":                     `scheme "consul": want static`,
		"static://a:1":                         "want three slashes",
		"static:a:1":                           "want three slashes",
		"static:///a":                          `instance 1 "a": want host:port`,
		"static:///a:1,":                       `instance 2 "": is empty`,
		"static:///a:0":                        `port "0": want 1 to 65535`,
		"static:///a:1,b:99999":                `instance 2 "b:99999"`,
		"static:///a:1,a:1":                    `"a:1" is listed twice`,
		"static:///a:1;weight=0":               `weight "0": want 1 to 65535`,
		"static:///a:1;weight=x":               `weight "x"`,
		"static:///a:1;weight=1;weight=2":      "weight is set twice",
		"static:///a:1;wieght=2":               `attribute "wieght": known are weight, zone`,
		"static:///a:1?tag=v2":                 `key "tag": known here are service`,
		"static:///a:1?service=":               `key "service" is empty`,
		"static:///a:1?service=a&service=b":    `key "service" is given 2 times`,
		"static:///a:1#x":                      `fragment "x"`,
		"static:///orders?file=" + gone:        "gone.json",
		"static:///orders?file=":               `key "file" is empty`,
		"static:///?file=" + gone:              "the path is empty: want the service",
		"static:///orders?dc=eu&file=" + gone:  `key "dc": known here are file, tag`,
		"static:///a;x,b:1,c?healthy=1":        `key "healthy"`,
		"static:///a:1;weight=1;;zone=z":       `attribute ""`,
		"static:///a%20b:1":                    "space or control",
		"static:///a:1?service=x%zz":           "invalid URL escape",
		"static:///orders?file=a.json;tag=eu":  "semicolon",
		"static:///a:1,b:2?service=o&filter=x": `key "filter"`,
	} {
		_, err := parse(target)
		if err == nil {
			t.Errorf("%s: want an error", target)
		} else if !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %q does not say %q", target, err, want)
		}
	}
}

// A target either is an error or gives a source with at least one usable instance.
func FuzzParseTarget(f *testing.F) {
	for _, seed := range []string{
		"static:///a:1,b:2?service=orders", "static:///a:1;weight=3;zone=z,[::1]:80", "static:///unix:/x%2C",
		"static:", "static:///%", "static:///a:1;;", "static:///a:1?service=%00", "static:////", "static:///,,",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, target string) {
		u, err := url.Parse(target)
		if err != nil || u.Query().Has("file") {
			return
		}
		source, query, err := static.ParseTarget(u)
		if (source == nil) == (err == nil) {
			t.Fatalf("source %v, error %v", source, err)
		}
		if err != nil {
			return
		}
		s, err := firstOf(source, query)
		if err != nil || s.Err != nil || len(s.Instances) == 0 || len(s.Problems) > 0 {
			t.Fatalf("%+v, %v", s, err)
		}
	})
}
