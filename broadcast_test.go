package surecall_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/discovery/static"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/surecalltest"
)

// broadcast calls Place everywhere.
func broadcast(ctx context.Context, client *surecall.Client, opts ...grpc.CallOption) ([]surecall.Result[*orders.Order], error) {
	return surecall.Broadcast(ctx, client, orders.NewOrdersClient(client).Place, &orders.PlaceRequest{Item: "tea"}, opts...)
}

// wantResults fails the test unless there is one result for each ID, in order, and those
// of failed have that code, the others the reply of their own instance.
func wantResults(t *testing.T, results []surecall.Result[*orders.Order], err error, ids []string, failed map[string]codes.Code) {
	t.Helper()
	if (err != nil) != (len(failed) > 0) {
		t.Errorf("error is %v, want one if any of %v failed", err, failed)
	}
	var got []string
	for _, r := range results {
		got = append(got, r.Instance)
		if code := failed[r.Instance]; status.Code(r.Err) != code {
			t.Errorf("%s: %v, want %v", r.Instance, r.Err, code)
		}
		if r.Err == nil && r.Reply.GetItem() != "tea" || r.Err != nil && !strings.Contains(err.Error(), fmt.Sprintf("%q: %v", r.Instance, r.Err)) {
			t.Errorf("%+v: want its reply, or its error in %v", r, err)
		}
	}
	if !slices.Equal(got, ids) {
		t.Errorf("results of %q, want %q", got, ids)
	}
}

// Each instance is called once, whatever its weight, and the results are in order.
func TestBroadcast(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 12)
		var ids []string
		for n, i := range cluster.Instances() {
			i.Delay(time.Duration(n+1) * time.Second / 4)
			i.Change(func(i *discovery.Instance) { i.Weight = 1 + 20*(n%2) })
			ids = append(ids, i.ID())
		}
		slices.Sort(ids)
		client := ready(t, cluster)
		began := time.Now()
		results, err := broadcast(t.Context(), client)
		wantResults(t, results, err, ids, nil)
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("took %v, want 3s, as long as the slowest", took)
		}
		for _, r := range results {
			n := slices.IndexFunc(cluster.Instances(), func(i *surecalltest.Instance) bool { return i.ID() == r.Instance })
			if i := cluster.Instance(n); i.Calls() != 1 || r.Address != i.Address() || r.Took != time.Duration(n+1)*time.Second/4 || r.State != event.Eligible {
				t.Errorf("%+v, %d calls: want one call to %s", r, i.Calls(), i.Address())
			}
		}
	})
}

// A client that was never used connects first, and calls those too that it is connecting
// to still.
func TestBroadcastConnects(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 5)
		cluster.Instance(4).Kill()
		slow := func(ctx context.Context, address string) (net.Conn, error) {
			if address == cluster.Instance(3).Address() {
				late := time.NewTimer(time.Second)
				defer late.Stop()
				select {
				case <-late.C:
				case <-ctx.Done():
					return nil, ctx.Err()
				}
			}
			return cluster.Dial(ctx, address)
		}
		client := cluster.Client(surecall.WithContextDialer(slow))
		began := time.Now()
		results, err := broadcast(t.Context(), client)
		wantResults(t, results, err, []string{"orders-1", "orders-2", "orders-3", "orders-4", "orders-5"}, map[string]codes.Code{"orders-5": codes.Unavailable})
		if took := time.Since(began); took > 1100*time.Millisecond {
			t.Errorf("took %v, want no longer than the slow dial: the dead one is not waited for", took)
		}
	})
}

// Those that are not eligible are not called, and not passed over in silence.
func TestBroadcastTellsWhomItLeftOut(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 4)
		client := ready(t, cluster)
		cluster.Instance(0).Kill()
		cluster.Instance(1).Serving(false)
		cluster.Instance(2).Fail(codes.FailedPrecondition)
		synctest.Wait()
		results, err := broadcast(t.Context(), client)
		wantResults(t, results, err, []string{"orders-1", "orders-2", "orders-3", "orders-4"}, map[string]codes.Code{
			"orders-1": codes.Unavailable, "orders-2": codes.Unavailable, "orders-3": codes.FailedPrecondition,
		})
		for n, want := range []string{"failed", "not serving"} {
			if r := results[n]; !errors.Is(r.Err, surecall.ErrNoInstance) || !strings.Contains(r.Err.Error(), "not called because it is "+want) || string(r.State) != want {
				t.Errorf("%+v: want ErrNoInstance because it is %s", r, want)
			}
		}
		if errors.Is(results[2].Err, surecall.ErrNoInstance) {
			t.Errorf("%v: want the instance's own answer", results[2].Err)
		}
		if got := reached(cluster); !slices.Equal(got, []int{0, 0, 1, 1}) {
			t.Errorf("calls are %v, want one each of those that are eligible", got)
		}
	})
}

// Those that stand by for others serve nobody, and are not asked.
func TestBroadcastLeavesOutStandby(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 4)
		all := cluster.Instances()
		client, _ := overTwo(t, listed(all[1:]), listed(all[:1]), cluster.Options())
		results, err := broadcast(t.Context(), client)
		wantResults(t, results, err, []string{"orders-2", "orders-3", "orders-4"}, nil)

		all[1].Kill()
		all[2].Kill()
		advance(time.Second) // the one of the far datacenter is connected, and comes first by ID
		results, err = broadcast(t.Context(), client)
		wantResults(t, results, err, []string{"orders-1", "orders-2", "orders-3", "orders-4"},
			map[string]codes.Code{"orders-2": codes.Unavailable, "orders-3": codes.Unavailable})
	})
}

// One that leaves before its turn is reported as not reached; its call goes to no other.
func TestBroadcastMeetsAnInstanceThatLeaves(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 3)
		client := ready(t, cluster)
		release := holdAll(cluster)
		var results []surecall.Result[*orders.Order]
		var err error
		done := make(chan struct{})
		go func() {
			defer close(done)
			results, err = broadcast(t.Context(), client, surecall.Parallel(1))
		}()
		synctest.Wait()
		cluster.Instance(1).Delist()
		cluster.Instance(1).Kill()
		synctest.Wait()
		release()
		<-done
		wantResults(t, results, err, []string{"orders-1", "orders-2", "orders-3"}, map[string]codes.Code{"orders-2": codes.Unavailable})
		if !errors.Is(results[1].Err, surecall.ErrNoInstance) {
			t.Errorf("%v, want ErrNoInstance", results[1].Err)
		}
		if got := reached(cluster); !slices.Equal(got, []int{1, 0, 1}) {
			t.Errorf("calls are %v, want 1, 0, 1", got)
		}
	})
}

// With nobody to call, the error says so at once; with WaitForReady, it is waited for.
func TestBroadcastToNobody(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 2)
		for _, i := range cluster.Instances() {
			i.Kill()
		}
		client := cluster.Client()
		began := time.Now()
		results, err := broadcast(t.Context(), client)
		var r *surecall.Rejection
		if !errors.Is(err, surecall.ErrNoInstance) || !errors.As(err, &r) || r.Known != 2 || len(results) != 2 || results[0].Err == nil {
			t.Errorf("%v, %v; want a rejection, and both instances in it", results, err)
		}
		if took := time.Since(began); took > 100*time.Millisecond {
			t.Errorf("took %v", took)
		}
		began = time.Now()
		results, err = broadcast(t.Context(), client, grpc.WaitForReady(true))
		if took := time.Since(began); results != nil || !errors.Is(err, surecall.ErrNoInstance) || took != surecall.DefaultCallDeadline {
			t.Errorf("%v, %v after %v; want ErrNoInstance after the call deadline", results, err, took)
		}
		time.AfterFunc(2*time.Second, cluster.Instance(0).Start)
		time.AfterFunc(3*time.Second, cluster.Instance(1).Start)
		results, err = broadcast(t.Context(), client, grpc.WaitForReady(true))
		wantResults(t, results, err, []string{"orders-1", "orders-2"}, nil)
	})
}

// Before anything is known it waits as a call does, and is rejected as one.
func TestBroadcastWithoutSource(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 1)
		cluster.Registry.Fail(errors.New("no answer"))
		client := cluster.Client()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if results, err := broadcast(ctx, client); len(results) != 0 || !errors.Is(err, surecall.ErrNoInstance) || !strings.Contains(err.Error(), "no answer") {
			t.Errorf("%v, %v; want ErrNoInstance, and what the source said", results, err)
		}
		_ = client.Close()
		if _, err := broadcast(t.Context(), client); err == nil || !strings.Contains(err.Error(), "is closed") {
			t.Errorf("a closed client: %v", err)
		}
	})
}

// No more calls are under way than Parallel says, and 64 callers disturb no one.
func TestBroadcastInParallel(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 20)
		client := ready(t, cluster)
		var mu sync.Mutex
		running, most := 0, 0
		for _, i := range cluster.Instances() {
			i.FailFunc(func(string, int64) error {
				mu.Lock()
				running++
				most = max(most, running)
				mu.Unlock()
				advance(10 * time.Millisecond)
				mu.Lock()
				running--
				mu.Unlock()
				return nil
			})
		}
		for n, opts := range map[int][]grpc.CallOption{16: nil, 3: {surecall.Parallel(5), surecall.Parallel(3)}, 20: {surecall.Parallel(100)}} {
			most = 0
			if _, err := broadcast(t.Context(), client, opts...); err != nil || most != n {
				t.Errorf("%v: %d at a time, want %d", err, most, n)
			}
		}
		var callers sync.WaitGroup
		for range 64 {
			callers.Go(func() {
				if results, err := broadcast(t.Context(), client); err != nil || len(results) != 20 {
					t.Errorf("%d results, %v", len(results), err)
				}
			})
		}
		callers.Wait()
		for _, i := range cluster.Instances() {
			if i.Calls() != 3+64 {
				t.Errorf("%s has had %d calls, want %d", i.ID(), i.Calls(), 3+64)
			}
		}
	})
}

// The end of the caller's context ends all, also those that have not begun.
func TestBroadcastEndsWithItsContext(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 4)
		client := ready(t, cluster)
		release := holdAll(cluster)
		defer release()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		results, _ := broadcast(ctx, client, surecall.Parallel(2))
		for _, r := range results {
			if status.Code(r.Err) != codes.DeadlineExceeded {
				t.Errorf("%s: %v, want DEADLINE_EXCEEDED", r.Instance, r.Err)
			}
		}
		if took := time.Since(began); took != time.Second || len(results) != 4 {
			t.Errorf("%d results after %v, want 4 after 1s", len(results), took)
		}
	})
}

// What cannot be meant is an error, and nothing is called.
func TestBroadcastErrors(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 1)
		client := ready(t, cluster)
		var trace surecall.CallTrace
		var p peer.Peer
		var md metadata.MD
		for _, o := range []grpc.CallOption{surecall.Trace(&trace), grpc.Peer(&p), grpc.Header(&md), grpc.Trailer(&md), surecall.Parallel(0)} {
			if results, err := broadcast(t.Context(), client, o); results != nil || err == nil || !strings.HasPrefix(err.Error(), "surecall: ") {
				t.Errorf("%T: %v, %v; want an error", o, results, err)
			}
		}
		if n := sum(reached(cluster)); n != 0 {
			t.Errorf("%d calls, want none", n)
		}
	})
}

// A stub of another connection does not know of the pin: its reply is nobody's.
func TestBroadcastWantsAStubOfTheClient(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 2)
		client := ready(t, cluster)
		stub := orders.NewOrdersClient(plain(t, cluster))
		results, err := surecall.Broadcast(t.Context(), client, stub.Place, &orders.PlaceRequest{Item: "tea"})
		if len(results) != 2 || err == nil || !strings.Contains(err.Error(), "want a stub of the client") {
			t.Errorf("%v, %v; want an error that says what stub it wants", results, err)
		}
	})
}

// Another client may know an instance by the same ID at another address: it is another one.
func TestBroadcastToldByAnotherClient(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 2)
		client := ready(t, cluster)
		swapped, err := static.New(
			discovery.Instance{ID: "orders-1", Service: "orders", Address: cluster.Instance(1).Address()},
			discovery.Instance{ID: "orders-2", Service: "orders", Address: cluster.Instance(1).Address()},
		)
		if err != nil {
			t.Fatal(err)
		}
		other := orders.NewOrdersClient(ready(t, cluster, surecall.WithSource(swapped)))
		results, err := surecall.Broadcast(t.Context(), client, other.Place, &orders.PlaceRequest{Item: "tea"})
		if err == nil || len(results) != 2 || results[0].Err == nil || !strings.Contains(results[0].Err.Error(), "by another instance") {
			t.Errorf("%+v, %v: want the first answered by another instance", results, err)
		}
	})
}

// What options ask to be told at the end is told for each call.
func TestBroadcastFinishesEach(t *testing.T) {
	bubble(t, func(t *testing.T) {
		client := ready(t, surecalltest.NewCluster(t, 3))
		var finished atomic.Int32
		if _, err := broadcast(t.Context(), client, grpc.OnFinish(func(error) { finished.Add(1) })); err != nil || finished.Load() != 3 {
			t.Errorf("%d finished, %v; want 3", finished.Load(), err)
		}
	})
}
