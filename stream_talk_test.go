package surecall_test

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/surecalltest"
)

const talkMethod = "/test.Talk/Talk"

// talks is what all attempts of streams have received, in the order in which they began.
type talks struct {
	mu       sync.Mutex
	attempts []*heard
}

// heard returns the attempts, once all that can happen has happened.
func (t *talks) heard() []*heard {
	synctest.Wait()
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.attempts)
}

// heard is what one attempt has received.
type heard struct {
	instance *surecalltest.Instance
	number   int // of the attempt among all, from 1
	items    []string
	closed   bool // the caller closed its side
	repeated bool // it was marked as following one that may have been executed
	stream   grpc.ServerStream
}

func (h *heard) next() error {
	var m orders.PlaceRequest
	err := h.stream.RecvMsg(&m)
	if err == nil {
		h.items = append(h.items, m.GetItem())
	}
	h.closed = h.closed || err == io.EOF
	return err
}

// all receives until the caller closes.
func (h *heard) all() error {
	for {
		if err := h.next(); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

func (h *heard) say(id string) error {
	return h.stream.SendMsg(&orders.Order{Id: id, ServedBy: h.instance.ID()})
}

// talkCluster serves one method of streams in both directions, each attempt by handle.
func talkCluster(t *testing.T, n int, handle func(*heard) error) (*surecalltest.Cluster, *talks) {
	t.Helper()
	all := &talks{}
	return surecalltest.NewClusterOf(t, n, func(s grpc.ServiceRegistrar, i *surecalltest.Instance) {
		s.RegisterService(&grpc.ServiceDesc{ServiceName: "test.Talk", HandlerType: (*any)(nil), Streams: []grpc.StreamDesc{{
			StreamName: "Talk", ServerStreams: true, ClientStreams: true,
			Handler: func(_ any, stream grpc.ServerStream) error {
				h := &heard{instance: i, stream: stream}
				h.repeated = len(metadata.ValueFromIncomingContext(stream.Context(), "surecall-attempt")) > 0
				all.mu.Lock()
				all.attempts = append(all.attempts, h)
				h.number = len(all.attempts)
				all.mu.Unlock()
				return handle(h)
			},
		}}}, nil)
	}), all
}

// talk opens a stream of it.
func talk(ctx context.Context, t *testing.T, cc grpc.ClientConnInterface, opts ...grpc.CallOption) grpc.ClientStream {
	t.Helper()
	stream, err := cc.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, talkMethod, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

// upload opens one that streams to the server only.
func upload(ctx context.Context, t *testing.T, cc grpc.ClientConnInterface, opts ...grpc.CallOption) grpc.ClientStream {
	t.Helper()
	stream, err := cc.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true}, talkMethod, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

var (
	talkAgain      = surecall.WithIdempotent(talkMethod)
	errUnavailable = status.Error(codes.Unavailable, "told to fail")
)

// numbered are the items 0, 1, … n-1.
func numbered(n int) []string {
	items := make([]string, n)
	for i := range items {
		items[i] = fmt.Sprint(i)
	}
	return items
}

// send sends items, all in the same message.
func send(stream grpc.ClientStream, items []string, pause time.Duration) error {
	var m orders.PlaceRequest
	for _, item := range items {
		m.Item = item
		if err := stream.SendMsg(&m); err != nil {
			return err
		}
		m.Item = "changed by the caller"
		advance(pause)
	}
	return nil
}
