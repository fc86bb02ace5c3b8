package surecall_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/surecalltest"
)

// streams is how many streams the client counts on all instances.
func streams(client *surecall.Client) int {
	n := 0
	for _, i := range client.Instances() {
		n += i.Streams
	}
	return n
}

// A stream of answers is counted while it lives, goes on while nothing comes, and
// leaves nothing behind when the caller leaves.
func TestServerStream(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 3)
		client := ready(t, cluster)
		ctx, cancel := context.WithCancel(t.Context())
		for range 9 {
			stream, err := orders.NewOrdersClient(client).Watch(ctx, &orders.GetRequest{Id: "7"})
			if err != nil {
				t.Fatal(err)
			}
			if order, err := stream.Recv(); err != nil || order.GetId() != "7" {
				t.Fatalf("first message %v, error %v", order, err)
			}
		}
		if n := streams(client); n != 9 {
			t.Errorf("%d streams counted: want 9", n)
		}
		for _, i := range client.Instances() {
			if i.InFlight != 0 {
				t.Errorf("%s: %d unary attempts in flight: streams are counted apart", i.ID, i.InFlight)
			}
		}
		time.Sleep(time.Hour)
		if n := streams(client); n != 9 {
			t.Errorf("%d streams after an hour of silence: want 9", n)
		}
		cancel()
		synctest.Wait()
		if n := streams(client); n != 0 {
			t.Errorf("%d streams after the caller left: want none", n)
		}
	})
}

func TestClientStream(t *testing.T) {
	bubble(t, func(t *testing.T) {
		client := ready(t, surecalltest.NewCluster(t, 3))
		stream, err := orders.NewOrdersClient(client).Import(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for range 100 {
			if err := stream.Send(&orders.PlaceRequest{Item: "tea"}); err != nil {
				t.Fatal(err)
			}
		}
		reply, err := stream.CloseAndRecv()
		if err != nil || reply.GetCount() != 100 {
			t.Errorf("reply %v, error %v: want 100 counted", reply, err)
		}
		synctest.Wait()
		if n := streams(client); n != 0 {
			t.Errorf("%d streams left: want none", n)
		}
	})
}

// The end of a stream is what its instance is judged by.
func TestStreamVerdict(t *testing.T) {
	for _, test := range []struct {
		code    codes.Code
		ejected bool
	}{{codes.Unavailable, true}, {codes.NotFound, false}, {codes.Unknown, false}} {
		bubble(t, func(t *testing.T) {
			cluster, events := surecalltest.NewCluster(t, 3), &log{}
			client := ready(t, cluster, events.option(), inTurn())
			cluster.Instance(0).Fail(test.code)
			for range 60 {
				ctx, cancel := context.WithCancel(t.Context())
				stream, err := orders.NewOrdersClient(client).Watch(ctx, &orders.GetRequest{})
				if err == nil {
					_, err = stream.Recv()
				}
				if err != nil && status.Code(err) != test.code {
					t.Fatalf("error %v: want %v", err, test.code)
				}
				cancel()
				synctest.Wait()
			}
			if ids := ejections(events); slices.Contains(ids, cluster.Instance(0).ID()) != test.ejected || len(ids) > 1 {
				t.Errorf("%v: ejected %v: want the one: %v", test.code, ids, test.ejected)
			}
		})
	}
}

// Opening a stream is tried on another instance if nothing was executed, whatever the
// method; one that may have been is not, unless the method is idempotent.
func TestStreamIsReopened(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster, events := surecalltest.NewCluster(t, 3), &log{}
		client := ready(t, cluster, events.option())
		credentials := &refusingCredentials{}
		credentials.left.Store(2)
		stream, err := orders.NewOrdersClient(client).Import(t.Context(), grpc.PerRPCCredentials(credentials))
		if err != nil {
			t.Fatal(err)
		}
		if reply, err := stream.CloseAndRecv(); err != nil || reply.GetCount() != 0 {
			t.Errorf("reply %v, error %v", reply, err)
		}
		retried := eventsOf[event.AttemptRetried](events)
		if len(retried) != 2 || retried[0].Instance == retried[1].Instance {
			t.Errorf("retries %+v: want two, of different instances", retried)
		}

		credentials.left.Store(100)
		if _, err := orders.NewOrdersClient(client).Import(t.Context(), grpc.PerRPCCredentials(credentials)); status.Code(err) != codes.Unavailable {
			t.Errorf("error %v: want UNAVAILABLE", err)
		}
		if n := 100 - credentials.left.Load(); n != 3 {
			t.Errorf("%d attempts: want 3", n)
		}

		failFirst(cluster, 1, codes.Unavailable)
		before := sum(reached(cluster))
		once, err := orders.NewOrdersClient(client).Import(t.Context())
		if err == nil {
			_, err = once.CloseAndRecv()
		}
		if status.Code(err) != codes.Unavailable || sum(reached(cluster))-before != 1 {
			t.Errorf("error %v after %d attempts: want that of the one attempt", err, sum(reached(cluster))-before)
		}
	})
}

// An instance that dies ends its streams; the next stream is opened on another.
func TestStreamOfADyingInstance(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 2)
		client := ready(t, cluster)
		stream, err := orders.NewOrdersClient(client).Watch(t.Context(), &orders.GetRequest{})
		if err != nil {
			t.Fatal(err)
		}
		order, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range cluster.Instances() {
			if i.ID() == order.GetServedBy() {
				i.Kill()
			}
		}
		if _, err := stream.Recv(); status.Code(err) != codes.Unavailable {
			t.Errorf("error %v: want UNAVAILABLE", err)
		}
		again, err := orders.NewOrdersClient(client).Watch(t.Context(), &orders.GetRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if second, err := again.Recv(); err != nil || second.GetServedBy() == order.GetServedBy() {
			t.Errorf("second stream: %v, error %v: want the other instance", second, err)
		}
	})
}

// A stream is never the trial of an ejected instance: its end may be hours away.
func TestStreamIsNoTrial(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster, events := surecalltest.NewCluster(t, 3), &log{}
		client := ready(t, cluster, events.option(), inTurn())
		cluster.Instance(0).Fail(codes.Unavailable)
		load(t, client, getMethod, 10*time.Millisecond, time.Second)
		if len(ejections(events)) != 1 {
			t.Fatal("not ejected")
		}
		cluster.Instance(0).Fail(codes.OK)
		before := cluster.Instance(0).Calls()
		for range 60 {
			time.Sleep(time.Second)
			stream, err := orders.NewOrdersClient(client).Import(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := stream.CloseAndRecv(); err != nil {
				t.Fatal(err)
			}
		}
		if n := cluster.Instance(0).Calls() - before; n != 0 {
			t.Errorf("%d streams went to the ejected instance: want none", n)
		}
	})
}

// A stream that a server ends well ends with io.EOF, untouched.
func TestStreamEnd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewClusterOf(t, 1, func(s grpc.ServiceRegistrar, _ *surecalltest.Instance) {
			orders.RegisterOrdersServer(s, brief{})
		})
		client := ready(t, cluster)
		stream, err := orders.NewOrdersClient(client).Watch(t.Context(), &orders.GetRequest{})
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for {
			if _, err = stream.Recv(); err != nil {
				break
			}
			n++
		}
		if !errors.Is(err, io.EOF) || n != 3 {
			t.Errorf("%d messages, then %v: want 3 and io.EOF", n, err)
		}
		if c := client.Instances()[0].Breaker; c.Requests != 1 || c.Failures != 0 {
			t.Errorf("breaker %+v: want one success", c)
		}
	})
}

// brief is an orders server whose Watch ends.
type brief struct {
	orders.UnimplementedOrdersServer
}

func (brief) Watch(_ *orders.GetRequest, stream grpc.ServerStreamingServer[orders.Order]) error {
	for range 3 {
		if err := stream.Send(&orders.Order{}); err != nil {
			return err
		}
	}
	return nil
}

// A stream that flows is a sign of life long before its end: streams that fail on two
// of three instances do not make the service down.
func TestFlowingStreamsAreSignsOfLife(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster, events := surecalltest.NewCluster(t, 3), &log{}
		client := ready(t, cluster, events.option(), surecall.WithoutBreaker())
		cluster.Instance(0).Fail(codes.Unavailable)
		cluster.Instance(1).Fail(codes.Unavailable)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		flowing := 0
		for range 150 {
			stream, err := orders.NewOrdersClient(client).Watch(ctx, &orders.GetRequest{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := stream.Recv(); err == nil {
				flowing++
			}
			advance(20 * time.Millisecond)
		}
		if opened := eventsOf[event.ServiceBreakerChanged](events); len(opened) > 0 || flowing == 0 {
			t.Errorf("service breaker: %+v with %d streams flowing: want that it stays closed", opened, flowing)
		}
	})
}

// A server stream that its server refused unexecuted is opened again elsewhere, with its
// request as it was; one that was refused without the mark may have been executed.
func TestRefusedStreamIsOpenedAgain(t *testing.T) {
	for _, marked := range []bool{true, false} {
		bubble(t, func(t *testing.T) {
			cluster := surecalltest.NewClusterOf(t, 3, func(s grpc.ServiceRegistrar, i *surecalltest.Instance) {
				orders.RegisterOrdersServer(s, &refusing{id: i.ID(), refuses: i.ID() != "orders-3", marks: marked})
			})
			for _, i := range cluster.Instances() {
				i.Change(markLifecycle)
			}
			client := ready(t, cluster, inTurn(), surecall.WithNotIdempotent(watchMethod))
			request := &orders.GetRequest{Id: "as it was"}
			opened := 0
			for range 30 {
				stream, err := orders.NewOrdersClient(client).Watch(t.Context(), request)
				if err != nil {
					t.Fatal(err)
				}
				request = &orders.GetRequest{Id: "as it was"}
				if order, err := stream.Recv(); err == nil {
					opened++
					if order.GetId() != "as it was" || order.GetServedBy() != "orders-3" {
						t.Errorf("got %v: want the request of orders-3", order)
					}
				}
				advance(300 * time.Millisecond) // for the budget
			}
			if marked && opened != 30 || !marked && opened > 15 {
				t.Errorf("marked %v: %d of 30 streams were opened: want all with the mark and a third without", marked, opened)
			}
		})
	}
}

// refusing refuses streams, and says that they were not executed if it marks.
type refusing struct {
	orders.UnimplementedOrdersServer
	id             string
	refuses, marks bool
}

func (r *refusing) Watch(request *orders.GetRequest, stream grpc.ServerStreamingServer[orders.Order]) error {
	if !r.refuses {
		return stream.Send(&orders.Order{Id: request.GetId(), ServedBy: r.id})
	}
	if r.marks {
		stream.SetTrailer(metadata.MD{"surecall-unexecuted": metadata.ValueFromIncomingContext(stream.Context(), "surecall-attempt-id")})
	}
	return status.Error(codes.Unavailable, "draining")
}

// One caller's message that cannot be encoded says nothing about instance or service.
func TestMessageThatCannotBeEncodedBlamesNobody(t *testing.T) {
	bubble(t, func(t *testing.T) {
		events := &log{}
		client := ready(t, surecalltest.NewCluster(t, 3), events.option())
		for range 60 {
			stream, err := orders.NewOrdersClient(client).Import(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := stream.Send(&orders.PlaceRequest{Item: "\xff"}); err == nil {
				t.Fatal("sent what is no UTF-8")
			}
			time.Sleep(50 * time.Millisecond)
		}
		if told := eventsOf[event.ServiceBreakerChanged](events); len(told) > 0 || len(ejections(events)) > 0 {
			t.Errorf("%+v, ejected %v: want nothing of the kind", told, ejections(events))
		}
	})
}
