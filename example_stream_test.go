package surecall_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/limit"
)

// warehouse takes orders in. The first of the streams that reach it fails halfway.
type warehouse struct {
	orders.UnimplementedOrdersServer
	failed *atomic.Bool
}

func (w warehouse) Import(stream grpc.ClientStreamingServer[orders.PlaceRequest, orders.ImportReply]) error {
	for count := int64(0); ; count++ {
		switch _, err := stream.Recv(); {
		case err == io.EOF:
			return stream.SendAndClose(&orders.ImportReply{Count: count})
		case err != nil:
			return err
		case count == 1 && w.failed.CompareAndSwap(false, true):
			return status.Error(codes.Unavailable, "the shelf broke")
		}
	}
}

// openWarehouses starts two of them on loopback.
func openWarehouses() (target string, closeAll func()) {
	var failed atomic.Bool
	var servers [2]*grpc.Server
	target = "static:///"
	for n := range servers {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			fmt.Println(err)
			return "", func() {}
		}
		servers[n] = grpc.NewServer()
		orders.RegisterOrdersServer(servers[n], warehouse{failed: &failed})
		go func() { _ = servers[n].Serve(listener) }()
		target += listener.Addr().String() + ","
	}
	return target[:len(target)-1], func() {
		for _, s := range servers {
			s.Stop()
		}
	}
}

func ExampleWithReplayBuffer() {
	target, closeAll := openWarehouses()
	defer closeAll()
	client, err := surecall.NewClient(target, surecall.WithInsecure(), surecall.ForMethod("/orders.v1.Orders/Import",
		surecall.AsIdempotent(),           // so that it may be sent twice
		surecall.WithReplayBuffer(1<<20))) // until the reply, for streams of up to 1 MiB
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	stream, err := orders.NewOrdersClient(client).Import(context.Background())
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, item := range []string{"tea", "milk", "sugar"} {
		if err := stream.Send(&orders.PlaceRequest{Item: item}); err != nil {
			fmt.Println(err)
			return
		}
	}
	reply, err := stream.CloseAndRecv() // the first instance failed after two
	fmt.Println(reply.GetCount(), err)
	// Output:
	// 3 <nil>
}

func ExampleWithStreamConcurrency() {
	target, closeAll := openWarehouses()
	defer closeAll()
	client, err := surecall.NewClient(target, surecall.WithInsecure(), surecall.WithStreamConcurrency(limit.Concurrency{Limit: 1}))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	open := func() error {
		_, err := orders.NewOrdersClient(client).Import(context.Background())
		return err
	}
	fmt.Println(open())
	fmt.Println(errors.Is(open(), surecall.ErrConcurrency))
	// Output:
	// <nil>
	// true
}
