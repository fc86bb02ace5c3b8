package wire_test

import (
	"testing"

	"github.com/surecall/surecall/internal/wire"
)

func TestParseAttempt(t *testing.T) {
	for _, test := range []struct {
		sent []string
		want string
		ok   bool
	}{
		{nil, "", false},
		{[]string{"2"}, "2", true},
		{[]string{"x", "3"}, "3", true},
		{[]string{"3", "x"}, "x", false},
		{[]string{""}, "", false},
		{[]string{"0"}, "0", false},
		{[]string{"-1"}, "-1", false},
		{[]string{"255"}, "255", true},
		{[]string{"256"}, "256", false},
	} {
		if got, ok := wire.ParseAttempt(test.sent); got != test.want || ok != test.ok {
			t.Errorf("%q: %q, %v; want %q, %v", test.sent, got, ok, test.want, test.ok)
		}
	}
}
