package surecallotel

import (
	"testing"

	"github.com/surecall/surecall/status"
)

// Source is a client that has nothing but a status.
type Source func() status.Status

// Status returns it.
func (s Source) Status() status.Status { return s() }

// Export exports the metrics of s until the test ends.
func Export(t testing.TB, s Source, opts ...Option) {
	t.Helper()
	c, err := newConfig(opts)
	if err != nil {
		t.Fatal(err)
	}
	unregister, err := c.export(s, func() bool { return true })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(unregister)
}

// MaxMethods is how many methods are told by their names.
const MaxMethods = maxMethods
