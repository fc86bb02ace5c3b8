package consul

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"strconv"
	"strings"

	"github.com/hashicorp/consul/api"

	"github.com/surecall/surecall/discovery"
)

// validate reports what of r Consul, or those who read it there, could not use.
func validate(r discovery.Registration) error {
	errs := []error{r.Validate()}
	fail := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("discovery/consul: registration "+format, args...))
	}
	host, _, err := net.SplitHostPort(r.Instance.Address)
	if ip := net.ParseIP(host); err == nil && ip.IsUnspecified() {
		fail("Address %q: nobody can dial an unspecified address: want the one that callers reach", r.Instance.Address)
	}
	if strings.HasPrefix(r.Instance.Address, "unix:") && r.GRPC != nil {
		fail("Address %q with GRPC: Consul cannot check a unix socket: want a TTL check", r.Instance.Address)
	}
	if strings.HasSuffix(r.Instance.Service, "/") {
		fail("Service %q: want no slash at the end: callers could not ask for it", r.Instance.Service)
	}
	return errors.Join(errs...)
}

// checkID names the check of the instance with the given ID.
func checkID(id string) string { return "surecall:" + id }

// agentRegistration is r, which is valid and has its defaults, as Consul takes it.
// status is what a TTL check begins with; a gRPC check begins critical until it ran.
func agentRegistration(r discovery.Registration, status discovery.Health) *api.AgentServiceRegistration {
	i := r.Instance
	service := &api.AgentServiceRegistration{
		ID:      i.ID,
		Name:    i.Service,
		Tags:    i.Tags,
		Meta:    meta(i),
		Weights: &api.AgentWeights{Passing: i.Weight, Warning: r.WarningWeight},
		Check: &api.AgentServiceCheck{
			CheckID:                        checkID(i.ID),
			Name:                           "surecall",
			DeregisterCriticalServiceAfter: r.DeregisterAfter.String(),
		},
	}
	if i.Region != "" {
		service.Locality = &api.Locality{Region: i.Region, Zone: i.Zone}
	}
	if path, ok := strings.CutPrefix(i.Address, "unix:"); ok {
		service.SocketPath = path
	} else {
		host, port, _ := net.SplitHostPort(i.Address) // validated
		service.Address = host
		service.Port, _ = strconv.Atoi(port)
	}
	if g := r.GRPC; g != nil {
		service.Check.GRPC = i.Address
		if g.Service != "" {
			service.Check.GRPC += "/" + g.Service
		}
		service.Check.Interval = g.Interval.String()
		service.Check.Timeout = g.Timeout.String() // Consul's own default is 10 s
		service.Check.GRPCUseTLS, service.Check.TLSSkipVerify, service.Check.TLSServerName = g.TLS, g.SkipVerify, g.ServerName
	} else {
		service.Check.TTL = r.TTL.String()
		service.Check.Status = ttlStatus(status)
	}
	return service
}

// meta returns the instance's own and what Consul has no field for.
func meta(i discovery.Instance) map[string]string {
	m := maps.Clone(i.Meta)
	set := func(key, value string) {
		if value == "" {
			return
		}
		if m == nil {
			m = make(map[string]string)
		}
		m[key] = value
	}
	set(metaIncarnation, i.Incarnation)
	set(metaServerName, i.ServerName)
	if i.Region == "" {
		set(metaZone, i.Zone)
	}
	return m
}

// ttlStatus is h as a TTL check can say it.
func ttlStatus(h discovery.Health) string {
	switch h {
	case discovery.Passing:
		return api.HealthPassing
	case discovery.Warning:
		return api.HealthWarning
	default:
		return api.HealthCritical
	}
}
