package surecall_test

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/examples/orders"
)

// Header meets the failure first, and returns that of the attempt that counts, as do
// Trailer and Context.
func TestStreamHeaderMeetsTheFailure(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster, talks := talkCluster(t, 3, func(h *heard) error {
			h.stream.SetTrailer(metadata.Pairs("number", fmt.Sprint(h.number)))
			if h.number == 1 {
				return errUnavailable
			}
			_ = h.stream.SendHeader(metadata.Pairs("number", fmt.Sprint(h.number)))
			return h.all()
		})
		stream := talk(t.Context(), t, ready(t, cluster, talkAgain))
		if err := send(stream, numbered(3), 0); err != nil {
			t.Fatal(err)
		}
		header, err := stream.Header()
		if err != nil || !slices.Equal(header["number"], []string{"2"}) {
			t.Fatalf("header %v, error %v: want that of the second attempt", header, err)
		}
		if surecall.Leaving(stream.Context()) == nil {
			t.Error("the context is not that of a stream that goes on")
		}
		_ = stream.CloseSend()
		if err := stream.RecvMsg(&orders.Order{}); err != io.EOF {
			t.Fatalf("error %v: want io.EOF", err)
		}
		if trailer := stream.Trailer(); !slices.Equal(trailer["number"], []string{"2"}) || !slices.Equal(talks.heard()[1].items, numbered(3)) {
			t.Errorf("trailer %v after %v: want that of the second attempt, sent all", trailer, talks.heard()[1].items)
		}
	})
}

// A server may answer before it has read all. Who sends is told by io.EOF, which says
// nothing of why; the answer is there for RecvMsg, and no other attempt is made.
func TestStreamIsAnsweredEarly(t *testing.T) {
	own := grpc.CallContentSubtype("proto") // a codec of the caller's: no message can be peeked at
	for _, test := range []struct {
		empty bool
		opts  []grpc.CallOption
	}{{false, nil}, {true, nil}, {false, []grpc.CallOption{own}}} {
		bubble(t, func(t *testing.T) {
			empty := test.empty
			cluster, talks := talkCluster(t, 2, func(h *heard) error {
				if empty {
					return h.stream.SendMsg(&orders.Order{})
				}
				return h.say("enough")
			})
			client := ready(t, cluster, talkAgain)
			for _, open := range []func(context.Context, *testing.T, grpc.ClientConnInterface, ...grpc.CallOption) grpc.ClientStream{talk, upload} {
				stream, before := open(t.Context(), t, client, test.opts...), len(talks.heard())
				if err := send(stream, numbered(5), time.Millisecond); err != io.EOF {
					t.Fatalf("error %v of sending: want io.EOF", err)
				}
				_ = stream.CloseSend()
				var reply orders.Order
				if err := stream.RecvMsg(&reply); err != nil || (reply.GetId() == "enough") == empty {
					t.Fatalf("reply %v, error %v", &reply, err)
				}
				if err := stream.RecvMsg(&reply); err != io.EOF {
					t.Errorf("then %v: want io.EOF", err)
				}
				if n := len(talks.heard()) - before; n > 1 {
					t.Errorf("%d attempts: want one", n)
				}
			}
			synctest.Wait()
			if n := streams(client); n != 0 {
				t.Errorf("%d streams left", n)
			}
		})
	}
}

// Who answers while it is sent the rest of a long replay does not stop it for good: the
// caller receives meanwhile.
func TestStreamIsReplayedWhileItAnswers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster, talks := talkCluster(t, 2, func(h *heard) error {
			if h.number == 1 {
				advance(time.Second)
				return errUnavailable
			}
			for {
				if err := h.next(); err == io.EOF {
					return nil
				} else if err != nil {
					return err
				}
				if err := h.say(h.items[len(h.items)-1]); err != nil {
					return err
				}
			}
		})
		client := ready(t, cluster, talkAgain, surecall.WithReplayBuffer(4<<20))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		stream := talk(ctx, t, client)
		var items []string
		for n := range 60 {
			items = append(items, fmt.Sprint(n, strings.Repeat(".", 16<<10)))
		}
		var sender sync.WaitGroup
		sender.Go(func() {
			if err := send(stream, items, 0); err != nil {
				t.Error(err)
			}
			_ = stream.CloseSend()
		})
		var got []string
		for {
			var m orders.Order
			err := stream.RecvMsg(&m)
			if err == io.EOF {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			got = append(got, m.GetId())
		}
		sender.Wait()
		if !slices.Equal(got, items) || len(talks.heard()) != 2 {
			t.Errorf("%d messages of %d, %d attempts", len(got), len(items), len(talks.heard()))
		}
	})
}

// What is not a protocol buffer cannot be kept.
func TestStreamOfOtherMessages(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster, talks := talkCluster(t, 3, func(h *heard) error {
			_ = h.next()
			return errUnavailable
		})
		stream := talk(t.Context(), t, ready(t, cluster, talkAgain), grpc.ForceCodecV2(rawCodec{}))
		raw := []byte("\x0a\x03tea")
		if err := stream.SendMsg(&raw); err != nil {
			t.Fatal(err)
		}
		if err := stream.RecvMsg(&raw); status.Code(err) != codes.Unavailable || len(talks.heard()) != 1 {
			t.Errorf("error %v after %d attempts: want UNAVAILABLE after one", err, len(talks.heard()))
		}
	})
}

// rawCodec has messages that are bytes.
type rawCodec struct{}

var _ encoding.CodecV2 = rawCodec{}

func (rawCodec) Name() string { return "proto" }

func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(*v.(*[]byte))}, nil
}

func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	raw, ok := v.(*[]byte)
	if !ok {
		return fmt.Errorf("%T is no bytes", v)
	}
	*raw = data.Materialize()
	return nil
}

// A client stream that a server refused unexecuted is opened again with what was sent,
// whatever the method, and without being marked as a repetition.
func TestRefusedClientStreamIsReplayed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster, talks := talkCluster(t, 3, func(h *heard) error {
			if h.number == 1 {
				id := metadata.ValueFromIncomingContext(h.stream.Context(), "surecall-attempt-id")
				h.stream.SetTrailer(metadata.MD{"surecall-unexecuted": id})
				return errUnavailable
			}
			if err := h.all(); err != nil {
				return err
			}
			return h.say("done")
		})
		for _, i := range cluster.Instances() {
			i.Change(markLifecycle)
		}
		stream := upload(t.Context(), t, ready(t, cluster))
		if err := send(stream, numbered(5), time.Millisecond); err != nil {
			t.Fatal(err)
		}
		_ = stream.CloseSend()
		var reply orders.Order
		if err := stream.RecvMsg(&reply); err != nil {
			t.Fatal(err)
		}
		if h := talks.heard()[1]; !slices.Equal(h.items, numbered(5)) || h.repeated {
			t.Errorf("sent %v, marked %v: want all, and no mark", h.items, h.repeated)
		}
	})
}

// What gRPC allows by mistake ends in errors, and nothing is left behind.
func TestStreamMisuse(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster, _ := talkCluster(t, 2, func(h *heard) error { return h.all() })
		client := ready(t, cluster, talkAgain)
		stream := talk(t.Context(), t, client)
		_ = stream.CloseSend()
		_ = stream.CloseSend()
		if err := stream.SendMsg(&orders.PlaceRequest{}); status.Code(err) != codes.Internal {
			t.Errorf("a message after CloseSend: %v: want INTERNAL", err)
		}
		for range 3 {
			if err := stream.RecvMsg(&orders.Order{}); err == nil {
				t.Error("a message after the end")
			}
		}
		_, _ = stream.Header()
		stream.Trailer()

		for _, wrong := range []any{nil, 7, (*orders.PlaceRequest)(nil), "text"} {
			ctx, cancel := context.WithCancel(t.Context())
			stream := talk(ctx, t, client)
			_ = stream.SendMsg(wrong)
			_ = stream.CloseSend()
			_ = stream.RecvMsg(&orders.Order{})
			cancel()
		}
		var left atomic.Int32
		for range 20 { // left by the caller, in the middle of everything
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			stream := talk(ctx, t, client)
			_ = send(stream, numbered(3), 0)
			go func() {
				defer left.Add(1)
				_ = stream.RecvMsg(&orders.Order{})
			}()
			if left.Load()%2 == 0 {
				cancel()
			}
			advance(2 * time.Millisecond)
			cancel()
		}
		synctest.Wait()
		if n := streams(client); n != 0 || left.Load() != 20 {
			t.Errorf("%d streams left, %d of 20 receivers returned", n, left.Load())
		}
	})
}

func TestReplayBufferBound(t *testing.T) {
	for _, bytes := range []int{0, -1} {
		_, err := surecall.NewClient("static:///a:1", surecall.WithInsecure(), surecall.WithReplayBuffer(bytes))
		if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("WithReplayBuffer %d: want more than 0 bytes", bytes)) {
			t.Errorf("%d bytes: %v", bytes, err)
		}
	}
}
