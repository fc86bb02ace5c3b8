package lifecycle_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// The infrastructure's calls, short and long, neither hold a drain up nor keep it from
// becoming quiet. All others do.
func TestInfrastructureIsNoCall(t *testing.T) {
	for name, counts := range map[string]bool{
		"grpc.health.v1.Health":                    false,
		"grpc.reflection.v1.ServerReflection":      false,
		"grpc.reflection.v1alpha.ServerReflection": false,
		"grpc.channelz.v1.Channelz":                false,
		"grpc.testing.TestService":                 true,
		"orders.grpc.health.v1.Health":             true,
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, nil, func(t *testing.T, r *rig) {
				if name != healthpb.Health_ServiceDesc.ServiceName {
					registerAs(r.server, name)
				}
				r.start()
				infrastructureIsNoCall(t, r, name, counts)
			})
		})
	}
}

func infrastructureIsNoCall(t *testing.T, r *rig, name string, counts bool) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	watch, err := r.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, "/"+name+"/Watch")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(watch.SendMsg(&healthpb.HealthCheckRequest{}), watch.RecvMsg(new(healthpb.HealthCheckResponse))); err != nil {
		t.Fatal(err)
	}
	if _, streams := r.life.InFlight(); (streams != 0) != counts {
		t.Errorf("%d streams in flight", streams)
	}
	if counts {
		cancel()
	}
	began, drained := time.Now(), r.drain()
	for range 22 { // to the end of the propagation, and beyond
		time.Sleep(100 * time.Millisecond)
		if err := r.conn.Invoke(t.Context(), "/"+name+"/Check", &healthpb.HealthCheckRequest{}, new(healthpb.HealthCheckResponse)); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Wait()
	if early := len(drained) > 0; early == counts {
		t.Errorf("drained %v after %v: want calls to count %v", early, time.Since(began), counts)
	}
	<-drained
	began = time.Now()
	if err := r.life.Stop(t.Context()); err != nil || time.Since(began) != 0 {
		t.Errorf("stopped after %v, error %v: want it at once", time.Since(began), err)
	}
}

// registerAs serves the methods of the health service under another name.
func registerAs(s *grpc.Server, name string) {
	desc := grpc.ServiceDesc{ServiceName: name, HandlerType: (*healthpb.HealthServer)(nil), Streams: healthpb.Health_ServiceDesc.Streams}
	desc.Methods = []grpc.MethodDesc{{
		MethodName: "Check",
		Handler: func(srv any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
			in := new(healthpb.HealthCheckRequest)
			if err := decode(in); err != nil {
				return nil, err
			}
			info := &grpc.UnaryServerInfo{Server: srv, FullMethod: "/" + name + "/Check"}
			return interceptor(ctx, in, info, func(ctx context.Context, req any) (any, error) {
				return srv.(healthpb.HealthServer).Check(ctx, req.(*healthpb.HealthCheckRequest))
			})
		},
	}}
	s.RegisterService(&desc, health.NewServer())
}
