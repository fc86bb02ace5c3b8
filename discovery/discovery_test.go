package discovery_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/surecall/surecall/discovery"
)

func TestCheckAddress(t *testing.T) {
	for address, want := range map[string]string{ // want "" means fine
		"orders:50051":                    "",
		"10.0.0.1:1":                      "",
		"10.0.0.1:65535":                  "",
		"[::1]:80":                        "",
		"[fe80::1%eth0]:80":               "",
		"unix:/run/orders.sock":           "",
		"unix:orders.sock":                "",
		"unix:@abstract":                  "",
		"bücher.example:443":              "",
		"":                                "is empty",
		"orders":                          "want host:port",
		"10.0.0.1":                        "want host:port",
		"::1":                             "want host:port",
		"::1:80":                          "want host:port",
		"[::1]":                           "want host:port",
		":80":                             "no host",
		"orders:":                         `port ""`,
		"orders:0":                        `port "0"`,
		"orders:65536":                    `port "65536"`,
		"orders:-1":                       `port "-1"`,
		"orders:http":                     `port "http"`,
		"orders:+80":                      `port "+80"`,
		"unix:":                           "no socket path",
		"a b:80":                          "space",
		"a\n:80":                          "control",
		"a\x7f:80":                        "control",
		"a\xff:80":                        "UTF-8",
		strings.Repeat("a", 1100):         "bytes long",
		"http://orders:80":                "want host:port",
		"orders:80,payments:80":           "want host:port",
		"unix:" + "/run/a b.sock":         "space",
		"[::1]:80" + "\u0000":             "control",
		strings.Repeat("a", 1021) + ":80": "",
	} {
		err := discovery.CheckAddress(address)
		switch {
		case want == "":
			if err != nil {
				t.Errorf("%.40q: %v", address, err)
			}
		case err == nil || !strings.Contains(err.Error(), want):
			t.Errorf("%.40q: %v, want %q", address, err, want)
		}
	}
}

func TestSanitize(t *testing.T) {
	ok := discovery.Instance{ID: "a", Address: "h:1", Weight: 2}
	for _, tc := range []struct {
		name     string
		set      []discovery.Instance
		want     []discovery.Instance
		problems []string // contained in each, in order
	}{
		{"nothing", nil, []discovery.Instance{}, nil},
		{"all well", []discovery.Instance{ok}, []discovery.Instance{ok}, nil},
		{"no ID and no weight", []discovery.Instance{{Address: "h:1"}}, []discovery.Instance{{ID: "h:1", Address: "h:1", Weight: 1}}, nil},
		{"a bad address", []discovery.Instance{{ID: "b", Address: "h"}, ok}, []discovery.Instance{ok}, []string{`b: address "h"`}},
		{"an ID twice", []discovery.Instance{ok, {ID: "a", Address: "h:2"}}, []discovery.Instance{ok}, []string{"a: ID is registered twice: h:2"}},
		{
			"a bad one does not use up its ID",
			[]discovery.Instance{{ID: "a", Address: "h"}, ok}, []discovery.Instance{ok}, []string{`address "h"`},
		},
		{
			"an address as ID twice",
			[]discovery.Instance{{Address: "h:1"}, {Address: "h:1"}},
			[]discovery.Instance{{ID: "h:1", Address: "h:1", Weight: 1}}, []string{"twice"},
		},
		{
			"weights out of bounds",
			[]discovery.Instance{{ID: "a", Address: "h:1", Weight: -5}, {ID: "b", Address: "h:2", Weight: 1 << 20}},
			[]discovery.Instance{{ID: "a", Address: "h:1", Weight: 1}, {ID: "b", Address: "h:2", Weight: discovery.MaxWeight}},
			[]string{"a: weight -5: used as 1", "b: weight 1048576: used as 65535"},
		},
		{
			"broken UTF-8",
			[]discovery.Instance{{ID: "a\xff", Address: "h:1", Weight: 1, Zone: "\xff", Region: "r\xff", Incarnation: "\xffi"}},
			[]discovery.Instance{{ID: "a\uFFFD", Address: "h:1", Weight: 1, Zone: "\uFFFD", Region: "r\uFFFD", Incarnation: "\uFFFDi"}},
			[]string{"not UTF-8"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := slices.Clone(tc.set)
			got, problems := discovery.Sanitize(tc.set)
			if got == nil || !slices.EqualFunc(got, tc.want, sameFields) {
				t.Errorf("got %+v, want %+v", got, tc.want)
			}
			if len(problems) != len(tc.problems) {
				t.Fatalf("problems %q, want %q", problems, tc.problems)
			}
			for n, want := range tc.problems {
				if !strings.Contains(problems[n].String(), want) {
					t.Errorf("problem %q does not say %q", problems[n], want)
				}
			}
			if !slices.EqualFunc(tc.set, before, sameFields) {
				t.Error("the set it was given has changed")
			}
		})
	}
}

func sameFields(a, b discovery.Instance) bool {
	return a.ID == b.ID && a.Address == b.Address && a.Weight == b.Weight &&
		a.Zone == b.Zone && a.Region == b.Region && a.Incarnation == b.Incarnation
}

func TestAccept(t *testing.T) {
	set := func(healths ...discovery.Health) (s []discovery.Instance) {
		for _, h := range healths {
			s = append(s, discovery.Instance{ID: h.String(), Health: h})
		}
		return s
	}
	all := set(discovery.Passing, discovery.Warning, discovery.Critical, discovery.Maintenance)
	bad := set(discovery.Critical, discovery.Maintenance)
	for _, tc := range []struct {
		accept    discovery.Accept
		from, bad string // what is selected of all and of bad
	}{
		{discovery.AcceptUsable, "passing warning", ""},
		{discovery.AcceptPassing, "passing", ""},
		{discovery.AcceptPrefer, "passing warning", "critical"},
		{discovery.AcceptAny, "passing warning critical", "critical"},
		{discovery.Accept(77), "passing warning", ""},
	} {
		if got := ids(tc.accept.Select(all)); got != tc.from {
			t.Errorf("accept %d of all: %q, want %q", tc.accept, got, tc.from)
		}
		if got := ids(tc.accept.Select(bad)); got != tc.bad {
			t.Errorf("accept %d of the bad: %q, want %q", tc.accept, got, tc.bad)
		}
	}
	if ids(all) != "passing warning critical maintenance" {
		t.Error("Select changed its set")
	}
}

func ids(set []discovery.Instance) string {
	var names []string
	for _, i := range set {
		names = append(names, i.ID)
	}
	return strings.Join(names, " ")
}

func TestQuerySelect(t *testing.T) {
	set := []discovery.Instance{
		{ID: "a", Tags: []string{"v1", "EU"}},
		{ID: "b", Tags: []string{"v2", "eu"}, Health: discovery.Critical},
		{ID: "c"},
	}
	for _, tc := range []struct {
		query discovery.Query
		want  string
	}{
		{discovery.Query{}, "a c"},
		{discovery.Query{Tags: []string{"eu"}}, "a"},
		{discovery.Query{Tags: []string{"Eu", "V1"}}, "a"},
		{discovery.Query{Tags: []string{"v1", "v2"}}, ""},
		{discovery.Query{Tags: []string{""}}, ""},
		{discovery.Query{Tags: []string{"eu"}, Accept: discovery.AcceptAny}, "a b"},
		// The healthy ones without the tag are no reason to go without the critical one.
		{discovery.Query{Tags: []string{"v2"}, Accept: discovery.AcceptPrefer}, "b"},
	} {
		if got := ids(tc.query.Select(set)); got != tc.want {
			t.Errorf("%+v: %q, want %q", tc.query, got, tc.want)
		}
	}
}

func TestCheckPlain(t *testing.T) {
	if err := (discovery.Query{Service: "orders", Tags: []string{"v2"}, Accept: discovery.AcceptAny}).CheckPlain(); err != nil {
		t.Error(err)
	}
	err := discovery.Query{
		Accept: 9, Filter: "f", Port: "p", TaggedAddress: "t", Datacenter: "d",
		Namespace: "n", Partition: "pa", Peer: "pe", Near: "ne", Prepared: "pr", Failover: []string{"f"},
	}.CheckPlain()
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		"Service is empty", "Accept 9: want 0 to 3", `Filter "f"`, `Port "p"`, `TaggedAddress "t"`,
		`Datacenter "d"`, `Namespace "n"`, `Partition "pa"`, `Peer "pe"`, `Near "ne"`,
		`Prepared "pr"`, `Failover ["f"]: want one query for each datacenter`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
}

func TestRegistrationValidate(t *testing.T) {
	good := discovery.Registration{Instance: discovery.Instance{Service: "orders", Address: "h:1"}}
	for _, tc := range []struct {
		name   string
		change func(*discovery.Registration)
		want   []string
	}{
		{"the least there is", func(*discovery.Registration) {}, nil},
		{"the bounds", func(r *discovery.Registration) {
			r.TTL, r.DeregisterAfter = time.Second, time.Minute
			r.Instance.Weight, r.WarningWeight = discovery.MaxWeight, discovery.MaxWeight
		}, nil},
		{"nothing", func(r *discovery.Registration) { *r = discovery.Registration{} }, []string{"Service is empty", `Address "": is empty`}},
		{"out of bounds", func(r *discovery.Registration) {
			r.TTL, r.DeregisterAfter = time.Second-1, time.Minute-1
			r.Instance.Weight, r.WarningWeight = discovery.MaxWeight+1, -1
			r.GRPC = &discovery.GRPCCheck{Interval: -1}
		}, []string{"Weight 65536: want 0 (means 1) to 65535", "WarningWeight -1", "TTL 999.999999ms: want 0 (means 15s) or at least 1s", "DeregisterAfter 59.999999999s", "GRPC.Interval -1ns"}},
		{"negative times", func(r *discovery.Registration) { r.TTL, r.DeregisterAfter = -1, -1 }, []string{"TTL -1ns", "DeregisterAfter -1ns"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := good
			tc.change(&r)
			err := r.Validate()
			if (err != nil) != (tc.want != nil) {
				t.Fatalf("%v, want %q", err, tc.want)
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
			if err == nil && r.WithDefaults().Validate() != nil {
				t.Errorf("its defaults are not valid: %v", r.WithDefaults().Validate())
			}
		})
	}
}

func TestRegistrationDefaults(t *testing.T) {
	given := discovery.Registration{
		Instance: discovery.Instance{Service: "orders", Address: "h:1", Weight: 7},
		GRPC:     &discovery.GRPCCheck{},
	}
	r := given.WithDefaults()
	if r.Instance.ID != "orders-h:1" || r.WarningWeight != 7 || r.TTL != 15*time.Second || r.DeregisterAfter != 10*time.Minute {
		t.Errorf("%+v", r)
	}
	if *r.GRPC != (discovery.GRPCCheck{Interval: 2 * time.Second, Timeout: time.Second}) {
		t.Errorf("%+v", *r.GRPC)
	}
	if *given.GRPC != (discovery.GRPCCheck{}) {
		t.Error("the check it was given has changed")
	}
	if again := r.WithDefaults(); again.Instance.ID != r.Instance.ID || again.TTL != r.TTL || *again.GRPC != *r.GRPC {
		t.Error("defaults of defaults differ")
	}
}

func TestHealthText(t *testing.T) {
	for h := discovery.Passing; h <= discovery.Maintenance; h++ {
		text, err := json.Marshal(h)
		var back discovery.Health
		if err == nil {
			err = json.Unmarshal(text, &back)
		}
		if err != nil || back != h {
			t.Errorf("%v became %s and %v: %v", h, text, back, err)
		}
	}
	var h discovery.Health
	if err := json.Unmarshal([]byte(`"fine"`), &h); err == nil || !strings.Contains(err.Error(), "want passing") {
		t.Errorf("fine: %v", err)
	}
	if got := discovery.Health(9).String(); got != "health(9)" {
		t.Error(got)
	}
}

// What passes can be dialled: it has the parts that a dialer takes.
func FuzzCheckAddress(f *testing.F) {
	for _, seed := range []string{"a:1", "[::1]:80", "unix:/x", "", ":", "a:0", "unix:", "[::1%25eth0]:1", "a\x00:1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, address string) {
		if discovery.CheckAddress(address) != nil {
			return
		}
		if !utf8.ValidString(address) || strings.ContainsAny(address, " \n\r\t\x00") || len(address) > 1024 {
			t.Fatalf("%q is fine", address)
		}
		clean, problems := discovery.Sanitize([]discovery.Instance{{Address: address}})
		if len(clean) != 1 || len(problems) != 0 || clean[0].ID != address {
			t.Fatalf("%q: %+v, %v", address, clean, problems)
		}
	})
}

// What Sanitize lets pass it lets pass again, and it is usable. What it does not, it
// tells of.
func FuzzSanitize(f *testing.F) {
	f.Add("a", "h:1", 1, "z", "a", "h:2", -1)
	f.Add("", "h:1", 1<<40, "\xff", "", "h:1", 0)
	f.Add("a\xff", "h:1", 1, "z", "a\xfe", "unix:/x", 65536)
	f.Fuzz(func(t *testing.T, id1, address1 string, weight1 int, zone, id2, address2 string, weight2 int) {
		set := []discovery.Instance{
			{ID: id1, Address: address1, Weight: weight1, Zone: zone},
			{ID: id2, Address: address2, Weight: weight2, Incarnation: zone},
		}
		clean, problems := discovery.Sanitize(set)
		if len(clean)+len(problems) < len(set) {
			t.Fatalf("%d left and %d problems of %d", len(clean), len(problems), len(set))
		}
		seen := map[string]bool{}
		for _, i := range clean {
			if i.ID == "" || seen[i.ID] || i.Weight < 1 || i.Weight > discovery.MaxWeight || discovery.CheckAddress(i.Address) != nil || !utf8.ValidString(i.ID+i.Zone+i.Incarnation) {
				t.Fatalf("%+v is not usable", i)
			}
			seen[i.ID] = true
		}
		again, problems := discovery.Sanitize(clean)
		if len(problems) > 0 || !slices.EqualFunc(again, clean, sameFields) {
			t.Fatalf("%+v became %+v: %v", clean, again, problems)
		}
	})
}
