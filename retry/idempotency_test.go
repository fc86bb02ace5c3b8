package retry_test

import (
	"testing"

	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/retry"
)

func TestLookupIdempotency(t *testing.T) {
	for method, want := range map[string]retry.Idempotency{
		orders.Orders_Get_FullMethodName:    retry.Idempotent, // NO_SIDE_EFFECTS
		orders.Orders_Watch_FullMethodName:  retry.Idempotent,
		orders.Orders_Cancel_FullMethodName: retry.Idempotent, // IDEMPOTENT
		orders.Orders_Place_FullMethodName:  retry.NotIdempotent,
		orders.Orders_Import_FullMethodName: retry.NotIdempotent,
		"orders.v1.Orders/Get":              retry.Idempotent, // grpc adds the slash itself
		"/orders.v1.Orders/Gone":            retry.Unknown,
		"/other.Service/Get":                retry.Unknown,
		"/orders.v1/Orders":                 retry.Unknown, // a service, not a method
		"/orders.v1.Orders/Get/more":        retry.Unknown,
		"/":                                 retry.Unknown,
		"":                                  retry.Unknown,
	} {
		if got := retry.LookupIdempotency(method); got != want {
			t.Errorf("%q is %v, want %v", method, got, want)
		}
	}
}

func TestIdempotencyNames(t *testing.T) {
	if got := retry.NotIdempotent.String() + ", " + retry.Idempotency(9).String(); got != "not idempotent, invalid" {
		t.Errorf("named %q", got)
	}
}

func BenchmarkLookupIdempotency(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		retry.LookupIdempotency(orders.Orders_Get_FullMethodName)
	}
}
