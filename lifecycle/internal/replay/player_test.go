package replay

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/internal/pipe"
	"github.com/surecall/surecall/internal/wire"
)

// shop answers as handle says, and notes what it was asked.
type shop struct {
	orders.UnimplementedOrdersServer
	handle func(ctx context.Context, id string) error

	mu      sync.Mutex
	asked   []string
	now     int
	most    int // at once
	unasked int // without the mark of a replay
}

func (s *shop) Get(ctx context.Context, r *orders.GetRequest) (*orders.Order, error) {
	s.enter(ctx, "get "+r.GetId())
	defer s.leave()
	return &orders.Order{Id: r.GetId()}, s.handle(ctx, r.GetId())
}

func (s *shop) Cancel(ctx context.Context, r *orders.CancelRequest) (*orders.Order, error) {
	s.enter(ctx, "cancel "+r.GetId())
	defer s.leave()
	return &orders.Order{Id: r.GetId()}, nil
}

func (s *shop) enter(ctx context.Context, what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Equal(metadata.ValueFromIncomingContext(ctx, wire.Replay), []string{"1"}) {
		s.unasked++
	}
	s.asked = append(s.asked, what)
	s.now++
	s.most = max(s.most, s.now)
}

func (s *shop) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now--
}

// open runs the shop in a bubble and returns a connection to it.
func open(t *testing.T, s *shop) *grpc.ClientConn {
	t.Helper()
	if s.handle == nil {
		s.handle = func(context.Context, string) error { return nil }
	}
	listener := pipe.Listen()
	server := grpc.NewServer(grpc.WaitForHandlers(true))
	orders.RegisterOrdersServer(server, s)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	conn, err := grpc.NewClient("passthrough:///self",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		server.Stop()
		<-served
	})
	return conn
}

// gets returns requests for these orders.
func gets(t *testing.T, ids ...string) Line {
	t.Helper()
	line := Line{Method: get}
	for _, id := range ids {
		m, err := proto.Marshal(&orders.GetRequest{Id: id})
		if err != nil {
			t.Fatal(err)
		}
		line.Messages = append(line.Messages, m)
	}
	return line
}

func TestEachMethodReachesItsTargetInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(shop)
		conn := open(t, s)
		script := Script{Lines: []Line{gets(t, "a", "b", ""), {Method: cancel, Messages: [][]byte{nil}}}}
		tallies := script.Play(t.Context(), conn, Plan{PerMethod: 5, Parallel: 1, Timeout: time.Second})

		want := "get a,cancel ,get b,cancel ,get ,cancel ,get a,cancel ,get b,cancel "
		if got := strings.Join(s.asked, ","); got != want {
			t.Errorf("asked %q\nwant  %q", got, want)
		}
		if s.unasked > 0 {
			t.Errorf("%d calls without the mark of a replay", s.unasked)
		}
		if fmt.Sprint(tallies) != fmt.Sprint([]Tally{{get, 3, 5, 0, nil}, {cancel, 1, 5, 0, nil}}) {
			t.Errorf("tallies %v", tallies)
		}
	})
}

func TestCallsAreMadeAtOnceUpToTheBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shop{handle: func(context.Context, string) error { time.Sleep(100 * time.Millisecond); return nil }}
		conn := open(t, s)
		start := time.Now()
		Script{Lines: []Line{gets(t, "a")}}.Play(t.Context(), conn, Plan{PerMethod: 12, Parallel: 3, Timeout: time.Second})
		if took := time.Since(start); s.most != 3 || took != 400*time.Millisecond {
			t.Errorf("%d at once, %v, want 3 and 400ms", s.most, took)
		}
	})
}

// What is gone by now was looked for, and that is what warms; a server that cannot
// answer is what the step must know of.
func TestAnswersAreNoFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tests := map[codes.Code]bool{
			codes.OK: true, codes.NotFound: true, codes.AlreadyExists: true, codes.FailedPrecondition: true, codes.OutOfRange: true,
			codes.InvalidArgument: false, codes.Unavailable: false, codes.Internal: false, codes.Unknown: false,
			codes.Unauthenticated: false, codes.PermissionDenied: false, codes.Unimplemented: false, codes.ResourceExhausted: false,
		}
		var code codes.Code
		conn := open(t, &shop{handle: func(context.Context, string) error { return status.Error(code, "so it is") }})
		for c, answered := range tests {
			code = c
			tally := Script{Lines: []Line{gets(t, "a")}}.Play(t.Context(), conn, Plan{PerMethod: 2, Parallel: 1, Timeout: time.Second})[0]
			if tally.Calls != 2 || (tally.Failed == 0) != answered || (tally.Err == nil) != answered {
				t.Errorf("%v: %+v, want answered: %v", c, tally, answered)
			}
		}
	})
}

func TestASlowCallFailsAndTheNextIsMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := open(t, &shop{handle: func(ctx context.Context, id string) error {
			if id == "slow" {
				<-ctx.Done()
			}
			return ctx.Err()
		}})
		tally := Script{Lines: []Line{gets(t, "slow", "fast")}}.Play(t.Context(), conn, Plan{PerMethod: 4, Parallel: 1, Timeout: time.Second})[0]
		if tally.Calls != 4 || tally.Failed != 2 || status.Code(tally.Err) != codes.DeadlineExceeded {
			t.Errorf("%+v, want two of four to be cut", tally)
		}
	})
}

func TestThePlayEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := open(t, &shop{handle: func(context.Context, string) error { time.Sleep(100 * time.Millisecond); return nil }})
		ctx, cancel := context.WithTimeout(t.Context(), 250*time.Millisecond)
		defer cancel()
		start := time.Now()
		tally := Script{Lines: []Line{gets(t, "a")}}.Play(ctx, conn, Plan{PerMethod: 100, Parallel: 2, Timeout: time.Minute})[0]
		if took := time.Since(start); took != 250*time.Millisecond || tally.Calls != 4 || tally.Failed != 0 {
			t.Errorf("%v, %+v, want 250ms, four calls, none failed", took, tally)
		}
	})
}
