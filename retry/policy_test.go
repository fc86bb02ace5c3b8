package retry_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/surecall/surecall/retry"
)

func TestDelay(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		p     retry.Policy
		retry int
		bound time.Duration
	}{
		{retry.Policy{}, 0, 25 * ms},
		{retry.Policy{}, 1, 25 * ms},
		{retry.Policy{}, 2, 50 * ms},
		{retry.Policy{}, 6, 800 * ms},
		{retry.Policy{}, 7, time.Second},
		{retry.Policy{}, math.MaxInt, time.Second},
		{retry.Policy{BaseDelay: 10 * ms, Multiplier: 1}, 9, 10 * ms},
		{retry.Policy{BaseDelay: 10 * ms, Multiplier: 3, MaxDelay: 80 * ms}, 3, 80 * ms},
	} {
		for _, rnd := range []float64{0, 0.25, 0.5, 1} {
			if got, want := c.p.Delay(c.retry, rnd), time.Duration(rnd*float64(c.bound)); got != want {
				t.Errorf("%+v: delay %d with %v is %v, want %v", c.p, c.retry, rnd, got, want)
			}
		}
	}
}

func FuzzDelay(f *testing.F) {
	f.Add(int64(0), int64(0), 0.0, 3, 0.5)
	f.Fuzz(func(t *testing.T, base, most int64, multiplier float64, n int, rnd float64) {
		p := retry.Policy{BaseDelay: time.Duration(base), MaxDelay: time.Duration(most), Multiplier: multiplier}
		if p.Validate() != nil || !(rnd >= 0 && rnd < 1) {
			t.Skip("not a policy, or not a random number")
		}
		if d := p.Delay(n, rnd); d < 0 || d > p.WithDefaults().MaxDelay {
			t.Fatalf("%+v: delay %d with %v is %v", p, n, rnd, d)
		}
	})
}

func TestPolicyValidate(t *testing.T) {
	for _, p := range []retry.Policy{
		{},
		retry.Policy{}.WithDefaults(),
		{MaxAttempts: 1, Codes: []codes.Code{}},
		{Codes: []codes.Code{codes.Unavailable, codes.Aborted}},
	} {
		if err := p.Validate(); err != nil {
			t.Errorf("%+v: %v", p, err)
		}
	}
	for want, p := range map[string]retry.Policy{
		"retry: MaxAttempts 11: want 1 to 10":             {MaxAttempts: 11},
		"retry: MaxAttempts -1: want 1 to 10":             {MaxAttempts: -1},
		"retry: Multiplier 0.5: want 1 to 100":            {Multiplier: 0.5},
		"retry: BaseDelay -1ns: want 1ns to 1h0m0s":       {BaseDelay: -1},
		"retry: MaxDelay 1ms: want at least BaseDelay":    {MaxDelay: time.Millisecond},
		"retry: Codes OK: want codes of failed calls":     {Codes: []codes.Code{codes.OK}},
		"retry: Codes Code(99): want codes of failed":     {Codes: []codes.Code{codes.Aborted, 99}},
		"retry: MaxDelay 2h0m0s: want 1ns to 1h0m0s\nret": {MaxDelay: 2 * time.Hour, Codes: []codes.Code{0}},
	} {
		if err := p.Validate(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%+v: got error %v, want %q", p, err, want)
		}
	}
}

func TestCodesDefault(t *testing.T) {
	if got := (retry.Policy{}).WithDefaults().Codes; len(got) != 1 || got[0] != codes.Unavailable {
		t.Errorf("default codes are %v, want UNAVAILABLE", got)
	}
	if got := (retry.Policy{Codes: []codes.Code{}}).WithDefaults().Codes; len(got) != 0 {
		t.Errorf("an empty slice became %v, want no code", got)
	}
}
