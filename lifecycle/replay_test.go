package lifecycle_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/internal/pipe"
	"github.com/surecall/surecall/lifecycle"
	"github.com/surecall/surecall/lifecycle/internal/replay"
)

// warehouse notes what it was asked.
type warehouse struct {
	orders.UnimplementedOrdersServer
	fail error

	mu    sync.Mutex
	asked map[string]int
}

func (w *warehouse) note(what string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.asked == nil {
		w.asked = map[string]int{}
	}
	w.asked[what]++
	return w.fail
}

func (w *warehouse) Get(_ context.Context, r *orders.GetRequest) (*orders.Order, error) {
	return &orders.Order{Id: r.GetId()}, w.note("get " + r.GetId())
}

func (w *warehouse) Place(_ context.Context, r *orders.PlaceRequest) (*orders.Order, error) {
	return &orders.Order{Item: r.GetItem()}, w.note("place " + r.GetItem())
}

// open serves the warehouse until close, which waits for its end.
func (w *warehouse) open(options ...grpc.ServerOption) (conn *grpc.ClientConn, closeAll func()) {
	listener := pipe.Listen()
	server := grpc.NewServer(append(options, grpc.WaitForHandlers(true))...)
	orders.RegisterOrdersServer(server, w)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	conn, err := grpc.NewClient("passthrough:///warehouse",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		panic(err)
	}
	return conn, func() {
		conn.Close()
		server.Stop()
		<-served
	}
}

// recordingOf returns a recording of requests for these orders.
func recordingOf(ids ...string) []byte {
	r, err := lifecycle.Record(lifecycle.RecordPolicy{})
	if err != nil {
		panic(err)
	}
	for _, id := range ids {
		_ = through(context.Background(), r, getMethod, &orders.GetRequest{Id: id}, nil)
	}
	var b bytes.Buffer
	if _, err := r.WriteTo(&b); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// What one server recorded of its callers another one is warmed up with, through real
// connections; and what it was warmed up with it does not record.
func TestARecordingWarmsUpAnotherServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old, seen := new(warehouse), recorder(t, lifecycle.RecordPolicy{})
		conn, closeOld := old.open(grpc.ChainUnaryInterceptor(seen.UnaryInterceptor()))
		client := orders.NewOrdersClient(conn)
		for _, id := range []string{"a", "b", "c"} {
			if _, err := client.Get(t.Context(), &orders.GetRequest{Id: id}); err != nil {
				t.Fatal(err)
			}
			if _, err := client.Place(t.Context(), &orders.PlaceRequest{Item: id}); err != nil {
				t.Fatal(err)
			}
		}
		closeOld()
		var recording bytes.Buffer
		if _, err := seen.WriteTo(&recording); err != nil {
			t.Fatal(err)
		}

		fresh, again := new(warehouse), recorder(t, lifecycle.RecordPolicy{})
		conn, closeFresh := fresh.open(grpc.ChainUnaryInterceptor(again.UnaryInterceptor()))
		defer closeFresh()
		var report lifecycle.ReplayReport
		step := lifecycle.Step{Name: "replay", Run: lifecycle.Replay(&recording, lifecycle.ReplayPolicy{
			PerMethod: 9, Report: func(r lifecycle.ReplayReport) { report = r },
		})}
		if err := step.Run(t.Context(), conn); err != nil {
			t.Fatal(err)
		}
		if want := map[string]int{"get a": 3, "get b": 3, "get c": 3}; fmt.Sprint(fresh.asked) != fmt.Sprint(want) {
			t.Errorf("asked %v, want %v", fresh.asked, want)
		}
		if m := report.Methods; len(m) != 1 || m[0] != (lifecycle.ReplayedMethod{Method: getMethod, Records: 3, Calls: 9}) || report.Incomplete != nil {
			t.Errorf("report %+v", report)
		}
		if n := again.Status().Records; n != 0 {
			t.Errorf("%d replays were recorded", n)
		}
	})
}

// As a step of a server's start: every call is one of its own, and comes before it is
// registered; one that fails keeps it from being registered at all.
func TestReplayIsAStepOfTheStart(t *testing.T) {
	for _, fail := range []bool{false, true} {
		replayed := 0
		inBubble(t, func(r *rig, c *lifecycle.Config) {
			r.orders.get = func(ctx context.Context) error {
				if lifecycle.IsReplay(ctx) && len(r.listed()) == 0 {
					replayed++
				}
				if fail {
					return status.Error(codes.Internal, "cold")
				}
				return nil
			}
			policy := lifecycle.ReplayPolicy{PerMethod: 7, Parallelism: 1}
			c.Steps = []lifecycle.Step{{Name: "replay", Run: lifecycle.Replay(bytes.NewReader(recordingOf("a")), policy)}}
		}, func(t *testing.T, r *rig) {
			err := r.life.Start(t.Context(), r.server)
			if (err != nil) != fail || fail && !strings.Contains(err.Error(), "0 of 7 calls answered") {
				t.Errorf("fail %v: started with %v", fail, err)
			}
			if replayed != 7 {
				t.Errorf("fail %v: %d replays before it is registered, want 7", fail, replayed)
			}
			if registered := len(r.listed()) == 1; registered == fail {
				t.Errorf("fail %v: registered %v", fail, registered)
			}
		})
	}
}

func TestWhenAReplayFails(t *testing.T) {
	whole := recordingOf("a", "b")
	gone := status.Error(codes.Unavailable, "no database")
	tests := []struct {
		name      string
		recording []byte
		fail      error
		policy    lifecycle.ReplayPolicy
		want      string // of the error; empty: none
		report    string // in the report
	}{
		{name: "well", recording: whole, report: "100 calls of 1 methods in 0s, 0 failed"},
		{name: "answers that are errors", recording: whole, fail: status.Error(codes.NotFound, "gone"), report: "100 calls of 1 methods in 0s, 0 failed"},
		{name: "no answers", recording: whole, fail: gone, want: "replay: 0 of 100 calls answered, want MinAnswered 0.5; 100 of " + getMethod + " failed, the last: rpc error: code = Unavailable desc = no database",
			report: "100 failed (100 of " + getMethod + ": rpc error"},
		{name: "cut off", recording: whole[:len(whole)-1], report: "0 failed; incomplete: replay: the recording was cut off after 2 records"},
		{name: "damaged in the first record", recording: append(bytes.Clone(whole[:30]), bytes.Repeat([]byte("#"), 100)...), want: "replay: damaged after 0 records: "},
		{name: "no recording", recording: []byte("not found\n"), want: "replay: not a recording"},
		{name: "another version", recording: []byte("surecall-replay/7\n"), want: `replay: version "surecall-replay/7"`},
		{name: "nothing", recording: nil, want: "cut off after 0 records"},
		{name: "nothing asked for", recording: whole, policy: lifecycle.ReplayPolicy{Methods: []string{"/x/*"}}, want: "replay: no record to replay among 2"},
		{name: "policy", recording: whole, policy: lifecycle.ReplayPolicy{Parallelism: -1, MinAnswered: 2}, want: "lifecycle: ReplayPolicy.Parallelism -1: want 1 to 1000\nlifecycle: ReplayPolicy.MinAnswered 2: want 0 to 1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conn, closeAll := (&warehouse{fail: tt.fail}).open()
				defer closeAll()
				report := ""
				tt.policy.Report = func(r lifecycle.ReplayReport) { report += r.String() }
				err := lifecycle.Replay(bytes.NewReader(tt.recording), tt.policy)(t.Context(), conn)
				if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
					t.Errorf("got %v, want %q", err, tt.want)
				}
				if !strings.Contains(report, tt.report) {
					t.Errorf("reported %q, want %q in it", report, tt.report)
				}
			})
		})
	}
}

func TestSideEffectsAreReplayedOnlyIfNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var recording bytes.Buffer
		w := replay.NewWriter(&recording)
		for _, method := range []string{getMethod, placeMethod} {
			if err := w.Write(replay.Record{Method: method}); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		for _, named := range []bool{false, true} {
			shop, policy := new(warehouse), lifecycle.ReplayPolicy{PerMethod: 2}
			if named {
				policy.SideEffects = []string{placeMethod}
			}
			conn, closeAll := shop.open()
			if err := lifecycle.Replay(bytes.NewReader(recording.Bytes()), policy)(t.Context(), conn); err != nil {
				t.Error(err)
			}
			closeAll()
			if got := shop.asked["place "] > 0; got != named {
				t.Errorf("named: %v, asked %v", named, shop.asked)
			}
		}
	})
}

// stalledPeer stops in the middle of its answer: what reads on is ended by Close.
type stalledPeer struct {
	io.Reader
	closed chan struct{}
	once   sync.Once
}

func (p *stalledPeer) Read(b []byte) (int, error) {
	if n, err := p.Reader.Read(b); err == nil {
		return n, nil
	}
	<-p.closed
	return 0, net.ErrClosed
}

func (p *stalledPeer) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func TestTheTimeoutOfAStepEndsAReadThatBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, closeAll := new(warehouse).open()
		defer closeAll()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		start := time.Now()
		err := lifecycle.ReplayFrom(func(context.Context) (io.ReadCloser, error) {
			return &stalledPeer{Reader: bytes.NewReader(recordingOf("a")[:40]), closed: make(chan struct{})}, nil
		}, lifecycle.ReplayPolicy{})(ctx, conn)
		if took := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || took != 3*time.Second {
			t.Errorf("%v after %v, want the deadline after 3s", err, took)
		}
	})
}

func TestARecordingIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, closeAll := new(warehouse).open()
		defer closeAll()
		for _, stream := range [][]byte{recordingOf("a"), []byte("this is not a recording at all")} {
			recording := &stalledPeer{Reader: bytes.NewReader(stream), closed: make(chan struct{})}
			_ = lifecycle.ReplayFrom(func(context.Context) (io.ReadCloser, error) { return recording, nil }, lifecycle.ReplayPolicy{PerMethod: 1})(t.Context(), conn)
			<-recording.closed
		}
	})
}

func TestAReplayThatRunsOutOfTimeFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, closeAll := new(warehouse).open(grpc.UnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, h grpc.UnaryHandler) (any, error) {
			time.Sleep(time.Second)
			return h(ctx, req)
		}))
		defer closeAll()
		ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
		defer cancel()
		err := lifecycle.Replay(bytes.NewReader(recordingOf("a")), lifecycle.ReplayPolicy{PerMethod: 50})(ctx, conn)
		if want := "replay: 8 of 50 calls made: context deadline exceeded"; err == nil || err.Error() != want {
			t.Errorf("got %v, want %q", err, want)
		}
	})
}

func TestOpeningMayFail(t *testing.T) {
	open := func(context.Context) (io.ReadCloser, error) { return os.Open("/no/such/recording") }
	if err := lifecycle.ReplayFrom(open, lifecycle.ReplayPolicy{})(t.Context(), nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want that the file does not exist", err)
	}
	none := func(context.Context) (io.ReadCloser, error) { return nil, nil }
	if err := lifecycle.ReplayFrom(none, lifecycle.ReplayPolicy{})(t.Context(), nil); err == nil {
		t.Error("no recording and no error is taken")
	}
}

func ExampleReplay() {
	recording := bytes.NewReader(recordingOf("o-1", "o-2")) // a file, a peer's answer, …
	step := lifecycle.Step{
		Name:     "replay",
		Timeout:  20 * time.Second,
		Optional: true, // a first deployment has no recording
		Run: lifecycle.Replay(recording, lifecycle.ReplayPolicy{
			PerMethod: 4,
			Report: func(r lifecycle.ReplayReport) {
				for _, m := range r.Methods {
					fmt.Println(m.Method, "records:", m.Records, "calls:", m.Calls, "failed:", m.Failed)
				}
			},
		}),
	}
	// The life of the server runs its steps. By hand:
	server := new(warehouse)
	conn, closeAll := server.open()
	defer closeAll()
	fmt.Println(step.Run(context.Background(), conn))
	for _, what := range slices.Sorted(maps.Keys(server.asked)) {
		fmt.Println(what, server.asked[what])
	}
	// Output:
	// /orders.v1.Orders/Get records: 2 calls: 4 failed: 0
	// <nil>
	// get o-1 2
	// get o-2 2
}

func ExampleReplayFrom() {
	// A server that runs lets new ones have what it recorded.
	recorder, err := lifecycle.Record(lifecycle.RecordPolicy{})
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = through(context.Background(), recorder, "/orders.v1.Orders/Get", &orders.GetRequest{Id: "o-1"}, nil)
	peer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = recorder.WriteTo(w)
	}))
	defer peer.Close()

	fetch := func(ctx context.Context) (io.ReadCloser, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, peer.URL, nil)
		if err != nil {
			return nil, err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return nil, err
		}
		return resp.Body, nil // what is no recording says so when it is read
	}
	step := lifecycle.Step{Name: "replay", Optional: true, Run: lifecycle.ReplayFrom(fetch, lifecycle.ReplayPolicy{PerMethod: 3})}

	// The life of the server runs its steps. By hand:
	server := new(warehouse)
	conn, closeAll := server.open()
	defer closeAll()
	fmt.Println(step.Run(context.Background(), conn), server.asked)
	// Output: <nil> map[get o-1:3]
}
