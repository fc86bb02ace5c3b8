package surecalltest

import (
	"context"
	"io"

	"google.golang.org/grpc"

	"github.com/surecall/surecall/examples/orders"
)

// ordersServer answers at once with what it was asked and who it is.
type ordersServer struct {
	orders.UnimplementedOrdersServer
	id string
}

func (s ordersServer) Get(_ context.Context, r *orders.GetRequest) (*orders.Order, error) {
	return &orders.Order{Id: r.GetId(), ServedBy: s.id}, nil
}

func (s ordersServer) Cancel(_ context.Context, r *orders.CancelRequest) (*orders.Order, error) {
	return &orders.Order{Id: r.GetId(), ServedBy: s.id}, nil
}

func (s ordersServer) Place(_ context.Context, r *orders.PlaceRequest) (*orders.Order, error) {
	return &orders.Order{Item: r.GetItem(), ServedBy: s.id}, nil
}

// Watch sends one order, and then waits for the caller to leave.
func (s ordersServer) Watch(r *orders.GetRequest, stream grpc.ServerStreamingServer[orders.Order]) error {
	if err := stream.Send(&orders.Order{Id: r.GetId(), ServedBy: s.id}); err != nil {
		return err
	}
	<-stream.Context().Done()
	return nil
}

func (s ordersServer) Import(stream grpc.ClientStreamingServer[orders.PlaceRequest, orders.ImportReply]) error {
	for count := int64(0); ; count++ {
		if _, err := stream.Recv(); err == io.EOF {
			return stream.SendAndClose(&orders.ImportReply{Count: count})
		} else if err != nil {
			return err
		}
	}
}
