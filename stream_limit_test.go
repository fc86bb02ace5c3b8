package surecall_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/limit"
)

// Streams hold their slots until they end, however that is; unary calls need none.
func TestStreamConcurrency(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster, _ := talkCluster(t, 3, func(h *heard) error { return h.all() })
		events := &log{}
		client := ready(t, cluster, talkAgain, events.option(), surecall.WithStreamConcurrency(limit.Concurrency{Limit: 10}))
		critical := surecall.WithPriority(t.Context(), limit.Critical)
		try := func(ctx context.Context) (grpc.ClientStream, error) {
			return client.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, talkMethod)
		}
		fill := func() (open []grpc.ClientStream, cancel context.CancelFunc) {
			ctx, cancel := context.WithCancel(critical)
			for {
				stream, err := try(ctx)
				if err != nil {
					var r *surecall.Rejection
					if !errors.As(err, &r) || !errors.Is(err, surecall.ErrConcurrency) || status.Code(err) != codes.ResourceExhausted {
						t.Fatalf("refused with %v: want ErrConcurrency", err)
					}
					return open, cancel
				}
				open = append(open, stream)
			}
		}
		open, cancel := fill()
		if len(open) != 10 {
			t.Fatalf("%d streams opened: want 10", len(open))
		}
		if len(eventsOf[event.LimitNear](events)) != 1 || len(eventsOf[event.CallRejected](events)) != 1 {
			t.Error("want one event that the limit is near, and one of the rejection")
		}
		_ = open[0].CloseSend()
		if err := open[0].RecvMsg(&orders.Order{}); err == nil {
			t.Fatal("a message")
		}
		if again, cancel := fill(); len(again) != 1 {
			t.Errorf("%d streams opened after the end of one: want 1", len(again))
		} else {
			cancel()
		}
		cancel()
		synctest.Wait()
		open, cancel = fill()
		if len(open) != 10 {
			t.Errorf("%d streams opened after all were left: want 10", len(open))
		}
		if _, err := try(surecall.WithPriority(t.Context(), limit.Sheddable)); !errors.Is(err, surecall.ErrConcurrency) {
			t.Errorf("a sheddable stream: %v", err)
		}
		if err := client.Update(surecall.WithoutStreamConcurrency()); err != nil {
			t.Fatal(err)
		}
		if _, err := try(critical); err != nil {
			t.Errorf("without a limit: %v", err)
		}
		cancel()
		synctest.Wait()
	})
}

// A retry gives the slot of its predecessor back before it takes its own.
func TestRetriedStreamHoldsOneSlot(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster, talks := talkCluster(t, 3, func(h *heard) error {
			if h.number%3 != 0 {
				return errUnavailable
			}
			return h.all()
		})
		client := ready(t, cluster, talkAgain, surecall.WithStreamConcurrency(limit.Concurrency{Limit: 1}))
		for n := range 5 {
			stream := talk(t.Context(), t, client)
			if err := send(stream, numbered(3), 0); err != nil {
				t.Fatal(err)
			}
			_ = stream.CloseSend()
			if err := stream.RecvMsg(&orders.Order{}); len(talks.heard()) != 3*n+3 || isRefused(err) {
				t.Fatalf("stream %d: %v, %d attempts: want three for each", n, err, len(talks.heard()))
			}
			advance(time.Second)
		}
	})
}

func isRefused(err error) bool { return errors.Is(err, surecall.ErrConcurrency) }

// A stream that waits for its slot opens when one is free.
func TestStreamWaitsForSlot(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster, _ := talkCluster(t, 1, func(h *heard) error { return h.all() })
		client := ready(t, cluster, surecall.WithStreamConcurrency(limit.Concurrency{
			Limit: 1, Queue: limit.Queue{MaxWaiting: 10, Interval: time.Minute, Target: time.Minute},
		}))
		ctx, cancel := context.WithCancel(t.Context())
		talk(ctx, t, client)
		time.AfterFunc(time.Second, cancel)
		var trace surecall.CallTrace
		stream := talk(t.Context(), t, client, surecall.Trace(&trace))
		_ = stream.CloseSend()
		_ = stream.RecvMsg(&orders.Order{})
		if len(trace.Attempts) != 1 || trace.Attempts[0].Queued != time.Second {
			t.Errorf("trace %+v: want a second in the queue", trace)
		}
	})
}

func TestStreamConcurrencyPolicy(t *testing.T) {
	for _, test := range []struct {
		policy limit.Concurrency
		want   string
	}{
		{limit.Concurrency{}, "WithStreamConcurrency: Limit 0: want more than 0"},
		{limit.Concurrency{Adaptive: limit.Adaptive{On: true}}, "WithStreamConcurrency: Adaptive is on"},
		{limit.Concurrency{Limit: -1}, "limit: Limit -1"},
	} {
		_, err := surecall.NewClient("static:///a:1", surecall.WithInsecure(), surecall.WithStreamConcurrency(test.policy))
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v: want %q", test.policy, err, test.want)
		}
	}
}

// An instance that has all the streams it may is passed over; when all have, the next
// stream is refused, and opens again where one has ended. Unary calls are not counted.
func TestInstanceStreamConcurrency(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster, talks := talkCluster(t, 3, func(h *heard) error { return h.all() })
		client := ready(t, cluster, talkAgain, surecall.WithInstanceStreamConcurrency(limit.Concurrency{Limit: 2}))
		ctx, cancel := context.WithCancel(surecall.WithPriority(t.Context(), limit.Critical))
		defer cancel()
		open := func() (grpc.ClientStream, error) {
			return client.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, talkMethod)
		}
		var streams []grpc.ClientStream
		for range 6 {
			stream, err := open()
			if err != nil {
				t.Fatalf("stream %d: %v", len(streams)+1, err)
			}
			streams = append(streams, stream)
		}
		synctest.Wait()
		on := map[string]int{}
		for _, h := range talks.heard() {
			on[h.instance.ID()]++
		}
		for _, i := range client.Instances() {
			if on[i.ID] != 2 || i.Streams != 2 || i.StreamLimit != 2 {
				t.Errorf("%s has %d streams, by its status %d of %d: want 2", i.ID, on[i.ID], i.Streams, i.StreamLimit)
			}
		}
		if _, err := open(); !isRefused(err) || status.Code(err) != codes.ResourceExhausted {
			t.Errorf("a stream too many: %v: want ErrConcurrency", err)
		}
		if err := client.Invoke(ctx, getMethod, &orders.GetRequest{}, &orders.Order{}); isRefused(err) {
			t.Errorf("a unary call: %v: want it not counted", err)
		}
		_ = streams[0].CloseSend()
		for err := error(nil); err == nil; {
			err = streams[0].RecvMsg(&orders.Order{})
		}
		if _, err := open(); err != nil {
			t.Errorf("after the end of one: %v: want room", err)
		}
		if _, err := open(); !isRefused(err) {
			t.Errorf("after that: %v: want ErrConcurrency", err)
		}
	})
}
