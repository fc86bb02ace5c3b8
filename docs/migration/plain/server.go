package plain

import (
	"context"
	"net"
	"os"
	"os/signal"
	"syscall"

	"google.golang.org/grpc"

	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/lifecycle"
)

// ServeBefore serves until SIGTERM.
func ServeBefore(service orders.OrdersServer) error {
	listener, err := net.Listen("tcp", ":50051")
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	orders.RegisterOrdersServer(server, service)
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	go func() {
		<-stop
		server.GracefulStop()
	}()
	return server.Serve(listener)
}

// ServeAfter serves until SIGTERM or the end of ctx. registry is consul.New(consul.Config{}).
func ServeAfter(ctx context.Context, address string, service orders.OrdersServer, registry discovery.Registrar) error {
	l := lifecycle.New(lifecycle.Config{
		Service:    "orders",
		Listen:     address, // ":50051"
		Registrars: []discovery.Registrar{registry},
	})
	server := grpc.NewServer(l.ServerOptions()...)
	orders.RegisterOrdersServer(server, service)
	return l.Run(ctx, server)
}
