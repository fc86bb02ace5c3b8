package breaker_test

import (
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/surecall/surecall/breaker"
)

func TestPolicyValidate(t *testing.T) {
	for _, p := range []breaker.Policy{
		{},
		breaker.Policy{}.WithDefaults(),
		{ConsecutiveFailures: 1, FailureRatio: 1, Jitter: 1, Window: 10 * time.Millisecond},
		{Ejection: time.Minute},
		{SlowCall: time.Millisecond, DryRun: true},
	} {
		if err := p.Validate(); err != nil {
			t.Errorf("%+v: %v", p, err)
		}
	}
	for want, p := range map[string]breaker.Policy{
		"breaker: FailureRatio 1.5: want 0 to 1":                        {FailureRatio: 1.5},
		"breaker: FailureRatio NaN: want 0 to 1":                        {FailureRatio: math.NaN()},
		"breaker: Jitter -0.1: want 0 to 1":                             {Jitter: -0.1},
		"breaker: Window 1ms: want 10ms to 24h0m0s":                     {Window: time.Millisecond},
		"breaker: ConsecutiveFailures -1: want 1 to 1000000":            {ConsecutiveFailures: -1},
		"breaker: MaxEjection 1m0s: want at least Ejection, 2m0s":       {Ejection: 2 * time.Minute},
		"breaker: SlowCall 1µs: want 1ms to 24h0m0s":                    {SlowCall: time.Microsecond},
		"breaker: MinRequests -3: want 1 to 1000000\nbreaker: StepBack": {MinRequests: -3, StepBack: -1},
	} {
		if err := p.Validate(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%+v: got error %v, want %q", p, err, want)
		}
	}
}

func TestServicePolicyValidate(t *testing.T) {
	if err := (breaker.ServicePolicy{}).Validate(); err != nil {
		t.Error(err)
	}
	err := breaker.ServicePolicy{Quiet: -1, MinFailures: 100_000, TrialInterval: 1}.Validate()
	for _, want := range []string{"Quiet -1ns", "MinFailures 100000", "TrialInterval 1ns"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not name %s", err, want)
		}
	}
}

func TestMethodPolicyValidate(t *testing.T) {
	for _, p := range []breaker.MethodPolicy{
		{},
		breaker.MethodPolicy{}.WithDefaults(),
		breaker.MethodPolicy{SlowCall: time.Second}.WithDefaults(),
		{FailureRatio: 1, MinRequests: 1, Trials: 1, SlowCall: time.Second, SlowRatio: 0.1, DryRun: true},
		{Open: time.Minute},
	} {
		if err := p.Validate(); err != nil {
			t.Errorf("%+v: %v", p, err)
		}
		if p.WithDefaults() != p.WithDefaults().WithDefaults() {
			t.Errorf("%+v: defaults of defaults differ", p)
		}
	}
	for want, p := range map[string]breaker.MethodPolicy{
		"breaker: FailureRatio -1: want 0 to 1":                                          {FailureRatio: -1},
		"breaker: SlowRatio NaN: want 0 to 1":                                            {SlowCall: time.Second, SlowRatio: math.NaN()},
		"breaker: SlowRatio 0.5: want SlowCall with it: without, no call is slow":        {SlowRatio: 0.5},
		"breaker: SlowCall -1ns: want 1ms to 24h0m0s":                                    {SlowCall: -1},
		"breaker: Trials 1000: want 1 to 100":                                            {Trials: 1000},
		"breaker: MaxOpen 1m0s: want at least Open, 2m0s":                                {Open: 2 * time.Minute},
		"breaker: MinRequests -3: want 1 to 1000000\nbreaker: Window":                    {MinRequests: -3, Window: -1},
		"breaker: Jitter 2: want 0 to 1\nbreaker: StepBack 1ns: want 10ms to 24h0m0s":    {Jitter: 2, StepBack: 1},
		"breaker: Open 9ms: want 10ms to 24h0m0s\nbreaker: MaxOpen 1ms: want 10ms to 24": {Open: 9 * time.Millisecond, MaxOpen: time.Millisecond},
	} {
		if err := p.Validate(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%+v: got error %v, want %q", p, err, want)
		}
	}
}

func TestJudge(t *testing.T) {
	on, off := breaker.Policy{SlowCall: time.Second}, breaker.Policy{}
	for _, c := range []struct {
		policy  breaker.Policy
		v       breaker.Verdict
		elapsed time.Duration
		want    breaker.Verdict
	}{
		{on, breaker.Success, time.Second, breaker.RatioFailure},
		{on, breaker.Success, time.Second - 1, breaker.Success},
		{on, breaker.Failure, time.Hour, breaker.Failure},
		{on, breaker.RatioFailure, time.Hour, breaker.RatioFailure},
		{on, breaker.Ignored, time.Hour, breaker.Ignored},
		{off, breaker.Success, time.Hour, breaker.Success},
		{off, breaker.Success, 0, breaker.Success},
	} {
		if got := c.policy.Judge(c.v, c.elapsed); got != c.want {
			t.Errorf("SlowCall %v: %v after %v is %v, want %v", c.policy.SlowCall, c.v, c.elapsed, got, c.want)
		}
	}
}

// Slow successes eject by the ratio: a few of them are no run.
func TestSlowCallsEject(t *testing.T) {
	for slowCall, want := range map[time.Duration]breaker.State{0: breaker.StateClosed, time.Second: breaker.StateOpen} {
		synctest.Test(t, func(t *testing.T) {
			p := breaker.Policy{SlowCall: slowCall}
			b := breaker.NewInstance(p, breaker.Hooks{})
			record(b, p.Judge(breaker.Success, time.Second), 19)
			wantState(t, b, breaker.StateClosed)
			record(b, p.Judge(breaker.Success, time.Second), 1)
			wantState(t, b, want)
		})
	}
}
