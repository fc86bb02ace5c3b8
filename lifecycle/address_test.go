package lifecycle

import (
	"errors"
	"net"
	"strings"
	"testing"
	"time"
)

func TestAdvertised(t *testing.T) {
	ip := func(s string) net.Addr {
		i, n, err := net.ParseCIDR(s)
		if err != nil {
			t.Fatal(err)
		}
		return &net.IPNet{IP: i, Mask: n.Mask}
	}
	tcp := func(s string) net.Addr {
		a, err := net.ResolveTCPAddr("tcp", s)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	loopback, own, docker, own6 := ip("127.0.0.1/8"), ip("10.1.2.3/24"), ip("172.17.0.1/16"), ip("2001:db8::1/64")
	for _, tc := range []struct {
		want  string
		on    net.Addr
		local []net.Addr
		is    string
		err   string
	}{
		{"", tcp("127.0.0.1:80"), nil, "127.0.0.1:80", ""},
		{"", tcp("[::1]:80"), nil, "[::1]:80", ""},
		{"", tcp("[fe80::1%eth0]:80"), nil, "[fe80::1%eth0]:80", ""},
		{"", tcp(":80"), []net.Addr{loopback, own, own6, ip("fe80::1/64")}, "10.1.2.3:80", ""},
		{"", tcp("[::]:80"), []net.Addr{loopback, own6}, "[2001:db8::1]:80", ""},
		{"", tcp("0.0.0.0:80"), []net.Addr{own, docker}, "", "[10.1.2.3 172.17.0.1]"},
		{"", tcp(":80"), []net.Addr{loopback}, "", "[]"},
		{"", tcp(":80"), nil, "", "no interfaces"},
		{"", &net.UnixAddr{Net: "unix", Name: "/run/x.sock"}, nil, "unix:/run/x.sock", ""},
		{"", selfAddr{}, nil, "", "in-process"},
		{"a.example:443", tcp(":80"), nil, "a.example:443", ""},
		{"a.example:0", tcp(":80"), nil, "a.example:80", ""},
		{"unix:/x", tcp(":80"), nil, "unix:/x", ""},
		{"a.example:0", selfAddr{}, nil, "a.example:0", ""},
	} {
		got, err := advertised(tc.want, tc.on, func() ([]net.Addr, error) {
			if tc.local == nil {
				return nil, errors.New("no interfaces")
			}
			return tc.local, nil
		})
		if got != tc.is || (err == nil) != (tc.err == "") || err != nil && !strings.Contains(err.Error(), tc.err) {
			t.Errorf("Address %q on %v: %q, error %v; want %q, %q", tc.want, tc.on, got, err, tc.is, tc.err)
		}
	}
}

func TestRetryPause(t *testing.T) {
	most := func() float64 { return 1 }
	least := func() float64 { return 0 }
	for n, want := range map[int]time.Duration{0: retryBase, 1: 2 * retryBase, 5: 32 * retryBase, 6: retryMax, 1000: retryMax} {
		if a, b := retryPause(n, most), retryPause(n, least); a != want || b != want/2 {
			t.Errorf("try %d: %v to %v, want %v to %v", n, b, a, want/2, want)
		}
	}
}

// The documented sum is true, and leaves Kubernetes' 30 s some room.
func TestDefaultsSum(t *testing.T) {
	d := Drain{}.withDefaults()
	if sum := d.Deregister + d.Propagation + d.Wait + d.Extra + d.Stop + d.Hooks + adminTimeout; sum != 23500*time.Millisecond {
		t.Errorf("%v", sum)
	}
}
