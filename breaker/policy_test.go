package breaker_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/surecall/surecall/breaker"
)

func TestPolicyValidate(t *testing.T) {
	for _, p := range []breaker.Policy{
		{},
		breaker.Policy{}.WithDefaults(),
		{ConsecutiveFailures: 1, FailureRatio: 1, Jitter: 1, Window: 10 * time.Millisecond},
		{Ejection: time.Minute},
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
