package breaker_test

import (
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/surecall/surecall/breaker"
)

func TestClassify(t *testing.T) {
	for _, c := range []struct {
		name string
		o    breaker.Outcome
		want breaker.Verdict
	}{
		{"OK", breaker.Outcome{Code: codes.OK}, breaker.Success},
		{"the server is not there", breaker.Outcome{Code: codes.Unavailable}, breaker.Failure},
		{"never executed", breaker.Outcome{Code: codes.Unavailable, NeverExecuted: true}, breaker.Ignored},
		{"never executed, connection lost", breaker.Outcome{Code: codes.Unavailable, NeverExecuted: true}, breaker.Ignored},
		{"cancelled by us", breaker.Outcome{Code: codes.Canceled, Canceled: true}, breaker.Ignored},
		{"cancelled by the server", breaker.Outcome{Code: codes.Canceled}, breaker.Success},
		{"message too large", breaker.Outcome{Code: codes.ResourceExhausted}, breaker.Ignored},
		{"overloaded", breaker.Outcome{Code: codes.ResourceExhausted}, breaker.Ignored},
		{"attempt timeout", breaker.Outcome{Code: codes.DeadlineExceeded, TimedOut: true}, breaker.Failure},
		{"deadline, p99 not learned", breaker.Outcome{Code: codes.DeadlineExceeded, Elapsed: time.Hour}, breaker.Ignored},
		{"deadline shorter than p99", breaker.Outcome{Code: codes.DeadlineExceeded, Elapsed: 99, P99: 100}, breaker.Ignored},
		{"deadline as long as p99", breaker.Outcome{Code: codes.DeadlineExceeded, Elapsed: 100, P99: 100}, breaker.Failure},
		{"broken handler", breaker.Outcome{Code: codes.Internal}, breaker.RatioFailure},
		{"data loss", breaker.Outcome{Code: codes.DataLoss}, breaker.RatioFailure},
	} {
		if got := breaker.Classify(c.o); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	for _, code := range []codes.Code{
		codes.Unknown, codes.InvalidArgument, codes.NotFound, codes.AlreadyExists, codes.PermissionDenied,
		codes.FailedPrecondition, codes.Aborted, codes.OutOfRange, codes.Unimplemented, codes.Unauthenticated, 99,
	} {
		if got := breaker.Classify(breaker.Outcome{Code: code}); got != breaker.Success {
			t.Errorf("%v: %v, want success", code, got)
		}
	}
}

func TestNames(t *testing.T) {
	if got := breaker.Mode(9).String(); got != "unknown" {
		t.Errorf("named %q, want unknown", got)
	}
	for got, want := range map[string]string{
		breaker.RatioFailure.String():  "ratio failure",
		breaker.Verdict(9).String():    "unknown",
		breaker.Automatic.String():     "automatic",
		breaker.StateHalfOpen.String(): "half-open",
		breaker.State(9).String():      "unknown",
		breaker.ForcedOpen.String():    "forced open",
		breaker.Disabled.String():      "disabled",
	} {
		if got != want {
			t.Errorf("named %q, want %q", got, want)
		}
	}
}
