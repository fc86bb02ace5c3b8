package lifecycle

import (
	"context"
	"errors"
	"maps"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

const (
	isServing  = healthpb.HealthCheckResponse_SERVING
	notServing = healthpb.HealthCheckResponse_NOT_SERVING
)

// vitality is the health service as the steps of a life drive it. Whoever calls it holds
// the life's lock.
type vitality struct {
	server *health.Server
	names  []string // whose status is ours: the whole server and the services nobody set
	others map[string]healthpb.HealthCheckResponse_ServingStatus
}

// register puts the health service on srv, unless the program has, and says that nothing
// is served yet.
func (v *vitality) register(srv *grpc.Server, own bool) error {
	services := srv.GetServiceInfo()
	_, registered := services[healthpb.Health_ServiceDesc.ServiceName]
	switch {
	case registered && !own:
		return errors.New("the server has a health service already: want it as Config.Health, so that it can tell callers to leave")
	case !registered:
		healthpb.RegisterHealthServer(srv, v.server)
	}
	v.names = []string{""}
	for _, name := range slices.Sorted(maps.Keys(services)) {
		_, err := v.server.Check(context.Background(), &healthpb.HealthCheckRequest{Service: name})
		if status.Code(err) == codes.NotFound && !apart("/"+name+"/") {
			v.names = append(v.names, name)
		}
	}
	v.set(notServing)
	return nil
}

func (v *vitality) set(s healthpb.HealthCheckResponse_ServingStatus) {
	for _, name := range v.names {
		v.server.SetServingStatus(name, s)
	}
}

// leave pushes NOT_SERVING to all who watch. What the program sets from now on has no
// effect.
func (v *vitality) leave() {
	v.others = nil
	// An error means more than 100 services. They all come back as SERVING.
	list, _ := v.server.List(context.Background(), &healthpb.HealthListRequest{})
	for name, answer := range list.GetStatuses() {
		if answer.GetStatus() != isServing && !slices.Contains(v.names, name) {
			if v.others == nil {
				v.others = make(map[string]healthpb.HealthCheckResponse_ServingStatus)
			}
			v.others[name] = answer.GetStatus()
		}
	}
	v.server.Shutdown()
}

// comeBack pushes SERVING, but for the services that the program had set otherwise.
func (v *vitality) comeBack() {
	v.server.Resume()
	for name, s := range v.others {
		v.server.SetServingStatus(name, s)
	}
}
