package main

import (
	"strings"
	"testing"

	"github.com/surecall/surecall/internal/consultest"
)

func try(t *testing.T, c config) (printed string, err error) {
	t.Helper()
	c.callers, c.instances, c.killEach = 16, 3, 100
	var out strings.Builder
	err = run(t.Context(), c, &out)
	t.Log(out.String())
	return out.String(), err
}

func TestExact(t *testing.T) {
	if printed, err := try(t, config{calls: 2000}); err != nil || !strings.HasSuffix(printed, "the counter is at 2000\n") {
		t.Error(err)
	}
}

func TestExactOnConsul(t *testing.T) {
	if _, err := try(t, config{calls: 1000, consul: consultest.Start(t).Addr}); err != nil {
		t.Error(err)
	}
}

// The control: what is counted twice.
func TestWithout(t *testing.T) {
	if _, err := try(t, config{calls: 2000, without: true}); err == nil || !strings.Contains(err.Error(), "were executed") {
		t.Errorf("error %v, want that calls were executed more than once", err)
	}
}

func TestFlags(t *testing.T) {
	if err := run(t.Context(), config{calls: 1}, nil); err == nil || !strings.Contains(err.Error(), "-callers 0") {
		t.Error(err)
	}
}
