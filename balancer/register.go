package balancer

import (
	"encoding/json"
	"errors"
	"fmt"
	"weak"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/serviceconfig"
)

// Name is the LB policy's name in a service config.
const Name = "surecall"

func init() { balancer.Register(builder{}) }

// ServiceConfig returns the service config that puts a client's connection under its
// fleet.
func (f *Fleet) ServiceConfig() string {
	return fmt.Sprintf(`{"loadBalancingConfig":[{"%s":{"fleet":%d}}]}`, Name, f.id)
}

type builder struct{}

func (builder) Name() string { return Name }

func (builder) Build(cc balancer.ClientConn, opts balancer.BuildOptions) balancer.Balancer {
	return newLB(cc, opts)
}

type lbConfig struct {
	serviceconfig.LoadBalancingConfig
	fleet *Fleet
}

// ParseConfig finds the fleet that ServiceConfig named.
func (builder) ParseConfig(text json.RawMessage) (serviceconfig.LoadBalancingConfig, error) {
	var c struct {
		Fleet uint64 `json:"fleet"`
	}
	if err := json.Unmarshal(text, &c); err != nil {
		return nil, fmt.Errorf("balancer: config %s: %w", text, err)
	}
	entry, _ := fleets.Load(c.Fleet)
	p, _ := entry.(weak.Pointer[Fleet])
	if f := p.Value(); f != nil {
		return lbConfig{fleet: f}, nil
	}
	return nil, errors.New("balancer: the policy " + Name + " belongs to a client of package surecall and cannot be configured by hand")
}
