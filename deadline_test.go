package surecall_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/surecalltest"
)

const forTheCaller = "set by surecall because the caller set none"

// A call without a deadline gets one, and its error then says whose it was.
func TestCallDeadline(t *testing.T) {
	deadline := surecall.WithCallDeadline
	for _, test := range []struct {
		name    string
		options []surecall.Option
		caller  time.Duration // 0: the caller sets none
		want    time.Duration
	}{
		{"default", nil, 0, 5 * time.Second},
		{"for all methods", []surecall.Option{deadline(time.Second)}, 0, time.Second},
		{"for the method", []surecall.Option{deadline(time.Second), surecall.ForMethod(placeMethod, deadline(2*time.Second))}, 0, 2 * time.Second},
		{"for another method", []surecall.Option{surecall.ForMethod(getMethod, deadline(time.Second))}, 0, 5 * time.Second},
		{"the caller's is longer", nil, time.Minute, time.Minute},
		{"the caller's is shorter", nil, 10 * time.Millisecond, 10 * time.Millisecond},
		{"none", []surecall.Option{surecall.WithoutCallDeadline()}, 0, time.Hour},
		{"none for the method", []surecall.Option{surecall.ForMethod("/orders.v1.Orders/Pl*", surecall.WithoutCallDeadline())}, 0, time.Hour},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				cluster := surecalltest.NewCluster(t, 2)
				client := ready(t, cluster, test.options...)
				hangAll(cluster)
				time.AfterFunc(time.Hour, func() { resumeAll(cluster) })
				ctx, cancel := t.Context(), func() {}
				if test.caller > 0 {
					ctx, cancel = context.WithTimeout(ctx, test.caller)
				}
				defer cancel()
				began := time.Now()
				_, err := unary(ctx, client, placeMethod)
				if took := time.Since(began); took != test.want {
					t.Errorf("took %v: want %v", took, test.want)
				}
				if test.want == time.Hour {
					if err != nil {
						t.Error(err)
					}
					return
				}
				if status.Code(err) != codes.DeadlineExceeded {
					t.Errorf("error %v: want DEADLINE_EXCEEDED", err)
				}
				if ours := strings.Contains(err.Error(), "call deadline of "+test.want.String()+", "+forTheCaller); ours != (test.caller == 0) {
					t.Errorf("error %q: says that the deadline is surecall's: %v", err, ours)
				}
			})
		})
	}
}

// All attempts of a call share its deadline.
func TestAttemptsShareTheCallDeadline(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 3)
		client := ready(t, cluster)
		hangAll(cluster)
		began := time.Now()
		_, err := unary(t.Context(), client, getMethod)
		if took := time.Since(began); took != 5*time.Second || status.Code(err) != codes.DeadlineExceeded {
			t.Errorf("took %v, error %v: want DEADLINE_EXCEEDED after 5s", took, err)
		}
		// Those that were cut because their instance hung do not count against its three.
		if !strings.Contains(err.Error(), "at attempt ") {
			t.Errorf("error %q: want the number of attempts", err)
		}
	})
}

// A caller that leaves gets its own error, and blames nobody.
func TestCallerLeaves(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster, events := surecalltest.NewCluster(t, 2), &log{}
		client := ready(t, cluster, events.option())
		hangAll(cluster)
		for range 40 {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(30*time.Millisecond, cancel)
			if _, err := unary(ctx, client, getMethod); status.Code(err) != codes.Canceled {
				t.Fatalf("error %v: want CANCELED", err)
			}
		}
		if ids, why := ejections(events), denials(events); len(ids)+len(why) > 0 {
			t.Errorf("ejected %v, denied for %q: want neither", ids, why)
		}
		for _, i := range client.Instances() {
			if i.Breaker.Failures > 0 || i.InFlight > 0 {
				t.Errorf("%s: %d failures, %d in flight: want none", i.ID, i.Breaker.Failures, i.InFlight)
			}
		}
	})
}

// A stream lives for as long as it likes, unless an option names its method.
func TestStreamDeadline(t *testing.T) {
	for _, test := range []struct {
		name   string
		option surecall.Option
		want   time.Duration
	}{
		{"default", surecall.WithOptions(), time.Hour},
		{"for all methods", surecall.WithCallDeadline(time.Second), time.Hour},
		{"for another method", surecall.ForMethod(getMethod, surecall.WithCallDeadline(time.Second)), time.Hour},
		{"for the method", surecall.ForMethod(watchMethod, surecall.WithCallDeadline(2*time.Second)), 2 * time.Second},
		{"for some methods", surecall.ForMethod("/orders.v1.*", surecall.WithCallDeadline(2*time.Second)), 2 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				cluster := surecalltest.NewCluster(t, 2)
				client := ready(t, cluster, test.option)
				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(time.Hour, cancel)
				began := time.Now()
				stream, err := orders.NewOrdersClient(client).Watch(ctx, &orders.GetRequest{})
				if err != nil {
					t.Fatal(err)
				}
				if _, err := stream.Recv(); err != nil {
					t.Fatal(err)
				}
				_, err = stream.Recv()
				if took := time.Since(began); took != test.want {
					t.Errorf("ended after %v: %v: want %v", took, err, test.want)
				}
			})
		})
	}
}
