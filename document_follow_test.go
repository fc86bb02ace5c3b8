package surecall_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/surecalltest"
)

// A source that gives up is asked again.
type quitter struct {
	mu     sync.Mutex
	asked  []time.Time
	result error
}

func (q *quitter) String() string { return "quitter" }

func (q *quitter) Watch(context.Context, func([]byte, error)) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.asked = append(q.asked, time.Now())
	return q.result
}

func TestPolicySourceThatEnds(t *testing.T) {
	for _, result := range []error{nil, errors.New("out of paper")} {
		bubble(t, func(t *testing.T) {
			q, events := &quitter{result: result}, &log{}
			client := ready(t, surecalltest.NewCluster(t, 1), events.option(), surecall.WithOwnerPolicy(q))
			advance(time.Minute)
			q.mu.Lock()
			defer q.mu.Unlock()
			if n := len(q.asked); n < 4 || n > 40 {
				t.Errorf("asked %d times in a minute", n)
			}
			want := "the source has ended"
			if result != nil {
				want = result.Error()
			}
			if l := layer(t, client, "owner"); l.Refused != want || len(eventsOf[event.PolicyRefused](events)) != 1 {
				t.Errorf("layer %+v: want it told once", l)
			}
		})
	}
}

// silent is a source that has no answer.
type silent struct{}

func (silent) String() string { return "silent" }

func (silent) Watch(ctx context.Context, _ func([]byte, error)) error {
	<-ctx.Done()
	return ctx.Err()
}

// WaitReady waits for the first word of each document, and not for long.
func TestWaitReadyForPolicies(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster := surecalltest.NewCluster(t, 1)
		client := cluster.Client(surecall.WithOwnerPolicy(newPaper(`{"deadline": "1s"}`)))
		began := time.Now()
		if err := client.WaitReady(t.Context()); err != nil || surecall.Deadline(client, getMethod) != time.Second || time.Since(began) >= time.Second {
			t.Errorf("ready after %v, with a deadline of %v: %v", time.Since(began), surecall.Deadline(client, getMethod), err)
		}
		client, began = cluster.Client(surecall.WithOwnerPolicy(silent{})), time.Now()
		if err := client.WaitReady(t.Context()); err != nil || time.Since(began) != time.Second {
			t.Errorf("ready after %v, %v: want 1 s", time.Since(began), err)
		}
	})
}

// Documents of a connection that a framework makes are followed while that is not idle, and
// where nothing tells when it ends, there are none.
func TestPolicyDialOptions(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cluster, p, events := surecalltest.NewCluster(t, 1), newPaper(`{"deadline": "1s"}`), &log{}
		opts := []surecall.Option{cluster.Options(), surecall.WithOwnerPolicy(p), events.option()}
		dial, err := surecall.DialOptions("memory:///orders", opts...)
		if err != nil {
			t.Fatal(err)
		}
		if p.read() != 0 {
			t.Error("the document is read before there is a connection")
		}
		conn, err := grpc.NewClient("memory:///orders", dial...)
		if err != nil {
			t.Fatal(err)
		}
		conn.Connect()
		synctest.Wait()
		if n := len(eventsOf[event.PolicyApplied](events)); n != 1 || p.read() != 1 {
			t.Errorf("applied %d times, %d readers: want one of each", n, p.read())
		}
		hangAll(cluster)
		began := time.Now()
		if _, err := unary(t.Context(), conn, placeMethod); time.Since(began) != time.Second {
			t.Errorf("the call took %v, %v: want the document's deadline", time.Since(began), err)
		}
		conn.Close()
		synctest.Wait()
		if p.read() != 0 {
			t.Error("the document is read after the connection was closed")
		}
	})
	_, err := surecall.DialOptions("dns:///orders:1", surecall.WithInsecure(), surecall.WithOwnerPolicy(silent{}))
	if err == nil || !strings.Contains(err.Error(), "does not tell when the connection ends") {
		t.Errorf("dns: %v", err)
	}
}

// What documents are to come from has to be there.
func TestBadPolicySources(t *testing.T) {
	for _, test := range []struct {
		target string
		option surecall.Option
		want   string
	}{
		{"dns:///orders:1", surecall.WithOwnerPolicy(nil), "WithOwnerPolicy: nil: want a source"},
		{"dns:///orders:1", surecall.WithCallerPolicy(nil), "WithCallerPolicy: nil"},
		{"dns:///orders:1", surecall.WithPolicyDocuments(), `policy document in key "surecall/orders:1": the source of "orders:1" has no keys: want a target of consul, or PolicyFile`},
		{"static:///a:1", surecall.WithOwnerPolicy(surecall.PolicyKey("a/b")), `in key "a/b"`},
		{"consul:///orders", surecall.WithOwnerPolicy(surecall.PolicyKey("/a")), `key "/a": want a path`},
		{"consul:///orders", surecall.WithOwnerPolicy(surecall.PolicyKey("a/../b")), `key "a/../b": want no`},
		{"dns:///orders:1", surecall.WithPolicyHeader(""), `WithPolicyHeader ""`},
		{"dns:///orders:1", surecall.WithPolicyHeader("grpc-x"), `WithPolicyHeader "grpc-x"`},
		{"dns:///orders:1", surecall.WithPolicyHeader("x bin"), `WithPolicyHeader "x bin"`},
		{"dns:///orders:1", surecall.WithPolicyHeader("x-bin"), `WithPolicyHeader "x-bin"`},
	} {
		if client, err := surecall.NewClient(test.target, surecall.WithInsecure(), test.option); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("error %v: want %q", err, test.want)
			client.Close()
		}
	}
	if err := surecall.PolicyKey("x").Watch(t.Context(), nil); err == nil {
		t.Error("a key without a client can be watched")
	}
}
