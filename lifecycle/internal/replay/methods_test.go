package replay

import (
	"testing"

	_ "google.golang.org/grpc/health/grpc_health_v1" // methods that say nothing of their effects

	_ "github.com/surecall/surecall/examples/orders"
)

func TestOnlyWhatHasNoSideEffects(t *testing.T) {
	const orders = "/orders.v1.Orders/"
	tests := []struct {
		methods Methods
		method  string
		want    Use
	}{
		{Methods{}, orders + "Get", Take},
		{Methods{}, orders + "Cancel", SideEffects}, // IDEMPOTENT is not enough
		{Methods{}, orders + "Place", SideEffects},
		{Methods{}, orders + "Watch", Streaming},
		{Methods{}, orders + "Import", Streaming},
		{Methods{}, orders + "Unknown", SideEffects},
		{Methods{}, "/orders.v1.Orders", SideEffects},
		{Methods{}, "/not.linked.Service/Get", SideEffects},
		{Methods{}, "/grpc.health.v1.Health/Check", SideEffects},
		{Methods{SideEffects: []string{orders + "Cancel"}}, orders + "Cancel", Take},
		{Methods{SideEffects: []string{orders + "Cancel"}}, orders + "Place", SideEffects},
		{Methods{SideEffects: []string{"/orders.v1.*"}}, orders + "Place", Take},
		{Methods{SideEffects: []string{"*"}}, orders + "Import", Streaming},
		{Methods{SideEffects: []string{"/not.linked.*"}}, "/not.linked.Service/Get", Take},
		{Methods{Only: []string{orders + "Get"}}, orders + "Get", Take},
		{Methods{Only: []string{orders + "G*", "/x/Y"}}, orders + "Get", Take},
		{Methods{Only: []string{orders + "Get*"}}, orders + "Cancel", NotAsked},
		{Methods{Only: []string{orders + "Cancel"}}, orders + "Cancel", SideEffects}, // to name it is not to allow it
	}
	for _, tt := range tests {
		if got := tt.methods.Of(tt.method); got != tt.want {
			t.Errorf("%+v.Of(%q) = %v, want %v", tt.methods, tt.method, got, tt.want)
		}
	}
}

func TestPatterns(t *testing.T) {
	for pattern, want := range map[string]bool{
		"*": true, "/a.B/C": true, "/a.B/C*": true, "/a.B/*": true, "/a.*": true, "/*": true,
		"": false, "/": false, "a.B/C": false, "/a.B": false, "/a.B/": false, "/a/B/C": false, "/a*/B": false, "**": false, "/a/B**": false,
	} {
		if got := len((Methods{Only: []string{pattern}}).Validate()) == 0; got != want {
			t.Errorf("pattern %q is valid: %v, want %v", pattern, got, want)
		}
	}
}
