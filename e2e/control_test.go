package e2e

import (
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/health" // gRPC's own health checks
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
)

// controlRate is small, for the control must not be what makes the machine slow.
const controlRate = 100

// control is plain gRPC with round_robin on the same servers in the same run. What it
// suffers is the fault without surecall, and the machine.
type control struct{ load *load }

// plainConfig is what plain gRPC users set by hand: it asks for health, and so is told
// when a server leaves.
const plainConfig = `{"loadBalancingConfig":[{"round_robin":{}}],"healthCheckConfig":{"serviceName":""}}`

// newControl knows the addresses of the start and nothing of Consul.
func newControl(t *testing.T, servers []*server, zero time.Time) *control {
	t.Helper()
	source := manual.NewBuilderWithScheme("control")
	var state resolver.State
	for _, srv := range servers {
		state.Endpoints = append(state.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: srv.address}}})
	}
	source.InitialState(state)
	conn, err := grpc.NewClient("control:///"+service,
		grpc.WithResolvers(source),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(plainConfig))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &control{startLoad(t, conn, zero, controlRate, -1)}
}

// seen sums up everything.
func (c *control) seen() outcome { return sum(c.load.took(), 0, always) }

// report ends the control's load and prints its figures.
func (c *control) report(t *testing.T) {
	t.Helper()
	if c == nil {
		return
	}
	c.load.stop()
	t.Logf("plain gRPC: %v", c.seen())
}
