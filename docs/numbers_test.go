package docs_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/balancer"
	"github.com/surecall/surecall/breaker"
	"github.com/surecall/surecall/limit"
	"github.com/surecall/surecall/resolver"
	"github.com/surecall/surecall/retry"
)

// The numbers of decisions.md are the defaults of the policies.
func TestNumbersAreTheDefaults(t *testing.T) {
	text := read(t, "decisions.md")
	instance, method, service := breaker.Policy{}.WithDefaults(), breaker.MethodPolicy{}.WithDefaults(), breaker.ServicePolicy{}.WithDefaults()
	retries, budget, choice := retry.Policy{}.WithDefaults(), retry.BudgetPolicy{}.WithDefaults(), balancer.Policy{}.WithDefaults()
	for _, want := range []string{
		fmt.Sprintf("| %d failures in a row, or half of at least %d in %s |", instance.ConsecutiveFailures, instance.MinRequests, spelt(instance.Window)),
		fmt.Sprintf("| %s, twice as long each time, at most %s, ±%v %%; one step back for each %s closed |",
			spelt(instance.Ejection), spelt(instance.MaxEjection), 100*instance.Jitter, spelt(instance.StepBack)),
		fmt.Sprintf("| half of at least %d calls in %s failed", method.MinRequests, spelt(method.Window)),
		fmt.Sprintf("| %s, twice as long each time, at most %s; then %d trials", spelt(method.Open), spelt(method.MaxOpen), method.Trials),
		fmt.Sprintf("| nothing succeeded for %s while at least %d attempts failed |", spelt(service.Quiet), service.MinFailures),
		fmt.Sprintf("| one each %s |", spelt(service.TrialInterval)),
		fmt.Sprintf("| attempts | %d;", retries.MaxAttempts),
		fmt.Sprintf("then up to %s, ×%v, at most %s, full jitter", spelt(retries.BaseDelay), retries.Multiplier, spelt(retries.MaxDelay)),
		fmt.Sprintf("| %v for each call + %v per second; capacity at least %v;", budget.Ratio, budget.PerSecond, budget.MinCapacity),
		fmt.Sprintf("| from %v %% of its share to all of it in %s:", 100*choice.SlowStartFrom, spelt(choice.SlowStart)),
		fmt.Sprintf("| call deadline | %s for unary calls", spelt(surecall.DefaultCallDeadline)),
		fmt.Sprintf("| %d × p99, from %s to half of what is left; %s until", surecall.DefaultAttemptMultiple, spelt(surecall.DefaultAttemptMin), spelt(surecall.DefaultAttemptInitial)),
		fmt.Sprintf("or after %d min |", resolver.DefaultHold/time.Minute),
		"| unary attempts of the client | 1,024, or",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("decisions.md does not say %q", want)
		}
	}
	if instance.FailureRatio != 0.5 || method.FailureRatio != 0.5 || instance.MaxEjectedRatio != 0.5 {
		t.Error("decisions.md says half, and the default is another")
	}
	if limit.DefaultLimit != 1024 {
		t.Error("decisions.md says 1,024 attempts, and the default is another")
	}
}

// spelt is a duration as the documents write it.
func spelt(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%d ms", d/time.Millisecond)
	}
	return fmt.Sprintf("%d s", d/time.Second)
}
