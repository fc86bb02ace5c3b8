package surecall

import (
	"strings"
	"testing"

	"github.com/surecall/surecall/discovery/memory"
)

// Whatever the text, there is a target that names a service and tells gRPC no secret,
// or an error, and never both.
func FuzzParseTarget(f *testing.F) {
	for _, text := range []string{
		"", "orders", "orders:1", "consul:///orders", "consul://u:p@h:1/orders?tag=a&dc=b&token=c", "consul:orders", "consul://",
		"static:///a:1,b:2", "static:///a:1;weight=3?service=x", "static:///x?file=/nowhere", "memory:///orders", "memory:///orders?tag=a",
		"memory://h/o?x=y", "dns:///orders:1", "dns://8.8.8.8/orders", "passthrough:///x", "unix:/run/x", "unix:///run/x", "://", "%zz://", "a://%zz",
		"CONSUL:///orders", "consul:///a/b", "consul:///a%2Fb", "memory:///a%2Fb%3Fc",
	} {
		f.Add(text, true)
		f.Add(text, false)
	}
	f.Fuzz(func(t *testing.T, text string, withSource bool) {
		if strings.Contains(text, "file=") {
			t.Skip("reads the disk")
		}
		var (
			target *target
			err    error
		)
		if withSource {
			target, err = parseTarget(text, memory.New())
		} else {
			target, err = parseTarget(text, nil)
		}
		if (target == nil) != (err != nil) {
			t.Fatalf("target %+v and error %v", target, err)
		}
		if err != nil {
			if !strings.HasPrefix(err.Error(), "surecall: ") {
				t.Errorf("error %q: want it to say who speaks", err)
			}
			return
		}
		if target.open != nil {
			if target.service == "" || target.authority == "" {
				t.Errorf("target %+v: want a service and an authority", target)
			}
			if strings.Contains(target.dial, "?") {
				t.Errorf("gRPC is told %q: want nothing of the query", target.dial)
			}
		}
	})
}
