package surecall_test

// The cases of TestChainOrder for the steps inside of retry.

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/breaker"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/limit"
	"github.com/surecall/surecall/surecalltest"
)

func rejectionIsFinal(t *testing.T) {
	cluster, events := surecalltest.NewCluster(t, 3), &log{}
	client := ready(t, cluster, events.option(), surecall.WithConcurrency(limit.Concurrency{Limit: 1}))
	release := holdAll(cluster)
	defer release()
	go func() { _, _ = unary(t.Context(), client, placeMethod) }()
	synctest.Wait()
	began := time.Now()
	if _, err := unary(t.Context(), client, getMethod); !errors.Is(err, surecall.ErrConcurrency) || time.Since(began) != 0 {
		t.Errorf("error %v after %v: want the limit's at once", err, time.Since(began))
	}
	if n := len(eventsOf[event.AttemptRetried](events)) + len(eventsOf[event.RetryDenied](events)); n != 0 {
		t.Errorf("%d retries made or denied: want that none is thought of", n)
	}
}

// A call that pauses between two attempts holds no slot: another can have it. If that is
// still under way when the pause is over, the call ends with what its instance said.
func slotsAreOfAttempts(t *testing.T) {
	cluster, events := surecalltest.NewCluster(t, 1), &log{}
	client := ready(t, cluster, surecall.WithConcurrency(limit.Concurrency{Limit: 1}), events.option())
	cluster.Instance(0).FailFunc(func(method string, _ int64) error {
		if method == getMethod {
			return retryIn(codes.Unavailable, 100*time.Millisecond)
		}
		return nil
	})
	cluster.Instance(0).DelayFunc(func(method string, _ int64) time.Duration {
		if method == placeMethod {
			return 200 * time.Millisecond
		}
		return 0
	})
	failed := make(chan error, 1)
	go func() {
		_, err := unary(t.Context(), client, getMethod)
		failed <- err
	}()
	advance(50 * time.Millisecond)
	if _, err := unary(t.Context(), client, placeMethod); err != nil {
		t.Errorf("a call while another pauses: %v", err)
	}
	if err := <-failed; status.Code(err) != codes.Unavailable || errors.Is(err, surecall.ErrConcurrency) {
		t.Errorf("error %v: want the instance's", err)
	}
	if n := cluster.Instance(0).CallsOf(getMethod); n != 1 || len(eventsOf[event.AttemptRetried](events)) != 1 {
		t.Errorf("%d attempts reached the instance: want that the second finds no slot", n)
	}
}

func hedgeWaitsForNoSlot(t *testing.T) {
	for limited, want := range map[int]int{1: 1, 2: 2} {
		cluster := surecalltest.NewCluster(t, 3)
		client := ready(t, cluster, after10, surecall.WithConcurrency(limit.Concurrency{
			Limit: limited, Queue: limit.Queue{MaxWaiting: 10, Interval: time.Second},
		}))
		for _, i := range cluster.Instances() {
			i.Delay(50 * time.Millisecond)
		}
		ctx := surecall.WithPriority(t.Context(), limit.Critical) // which may use all of it
		began := time.Now()
		if _, err := unary(ctx, client, getMethod); err != nil || time.Since(began) != 50*time.Millisecond {
			t.Errorf("error %v after %v: want the answer of the first", err, time.Since(began))
		}
		synctest.Wait()
		if n := cluster.Calls(); n != want {
			t.Errorf("a limit of %d: %d attempts: want %d", limited, n, want)
		}
	}
}

func timeoutBeginsWithSlot(t *testing.T) {
	cluster, events := surecalltest.NewCluster(t, 2), &log{}
	client := ready(t, cluster, events.option(), surecall.WithAttemptTimeout(surecall.AttemptTimeout{Fixed: 100 * time.Millisecond}),
		surecall.WithConcurrency(limit.Concurrency{Limit: 1, Queue: limit.Queue{MaxWaiting: 10, Interval: time.Second}}))
	for _, i := range cluster.Instances() {
		i.Delay(80 * time.Millisecond)
	}
	changes := len(eventsOf[event.InstanceChanged](events))
	for _, r := range load(t, client, getMethod, time.Millisecond, 5*time.Millisecond) {
		if r.err != nil {
			t.Errorf("error %v after %v: want success", r.err, r.took)
		}
	}
	if n := cluster.Calls(); n != 5 {
		t.Errorf("%d attempts for 5 calls, of which one waited for 320 ms: want none cut for that", n)
	}
	if changed := eventsOf[event.InstanceChanged](events)[changes:]; len(changed) > 0 {
		t.Errorf("%+v: want no instance blamed", changed)
	}
	for _, i := range client.Instances() {
		if i.Breaker.Failures != 0 || i.Latency > 100*time.Millisecond {
			t.Errorf("%s: %d failures, latency %v: want none, and that of an attempt", i.ID, i.Breaker.Failures, i.Latency)
		}
	}
}

func timeoutBeginsWithPick(t *testing.T) {
	cluster, events := surecalltest.NewCluster(t, 1), &log{}
	cluster.Instance(0).Delist()
	client := cluster.Client(events.option())
	time.AfterFunc(2*time.Second, cluster.Instance(0).List)
	if _, err := unary(t.Context(), client, getMethod, grpc.WaitForReady(true)); err != nil {
		t.Error(err)
	}
	if n := len(eventsOf[event.AttemptRetried](events)); n != 0 {
		t.Errorf("%d retries of a call that waited: want none", n)
	}
}

func pickInsideLimits(t *testing.T) {
	cluster := surecalltest.NewCluster(t, 2)
	client := ready(t, cluster, surecall.WithConcurrency(limit.Concurrency{Limit: 3}), surecall.WithInstanceConcurrency(limit.Concurrency{Limit: 1}))
	release := holdAll(cluster)
	defer release()
	var held sync.WaitGroup
	ctx := surecall.WithPriority(t.Context(), limit.Critical)
	for range 2 {
		held.Go(func() {
			if _, err := unary(ctx, client, placeMethod); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
	}
	if calls := reached(cluster); calls[0] != 1 || calls[1] != 1 {
		t.Errorf("calls per instance %v: want one each", calls)
	}
	for range 5 { // more than the client's limit has slots
		if _, err := unary(ctx, client, getMethod); !errors.Is(err, surecall.ErrConcurrency) {
			t.Errorf("error %v: want that all are full", err)
		}
	}
	release()
	held.Wait()
	get(t, client)
}

// slowToSend lets a server's refusal arrive before the request is sent: gRPC then tells its
// balancer that the RPC succeeded.
type slowToSend struct{ stats.Handler }

func (slowToSend) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }
func (slowToSend) HandleRPC(_ context.Context, s stats.RPCStats) {
	if _, ok := s.(*stats.OutHeader); ok {
		advance(time.Millisecond)
	}
}
func (slowToSend) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (slowToSend) HandleConn(context.Context, stats.ConnStats)                       {}

func verdictOfTheError(t *testing.T) {
	refuse := grpc.InTapHandle(func(ctx context.Context, info *tap.Info) (context.Context, error) {
		if info.FullMethodName == placeMethod {
			return nil, status.Error(codes.Unavailable, "refused on its headers")
		}
		return ctx, nil
	})
	cluster := surecalltest.NewCluster(t, 1, refuse)
	client := ready(t, cluster, surecall.WithDialOptions(grpc.WithStatsHandler(slowToSend{})))
	var trace surecall.CallTrace
	if _, err := unary(t.Context(), client, placeMethod, surecall.Trace(&trace)); status.Code(err) != codes.Unavailable {
		t.Errorf("error %v: want the server's", err)
	}
	if n := client.Instances()[0].Breaker.Failures; n != 1 || trace.Attempts[0].Verdict != breaker.Failure {
		t.Errorf("%d failures, verdict %v: want the one", n, trace.Attempts[0].Verdict)
	}
}
