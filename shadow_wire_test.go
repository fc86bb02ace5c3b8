package surecall_test

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/limit"
	"github.com/surecall/surecall/surecalltest"
)

// mirror is a service whose replies are what the server received.
var mirror = grpc.ServiceDesc{
	ServiceName: "test.Mirror",
	HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{{MethodName: "Unary", Handler: func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		var in wrapperspb.StringValue
		if err := decode(&in); err != nil {
			return nil, err
		}
		_ = grpc.SetHeader(ctx, metadata.Pairs("header", in.Value))
		_ = grpc.SetTrailer(ctx, metadata.Pairs("trailer", in.Value))
		return reflected(ctx, in.Value)
	}}},
	Streams: []grpc.StreamDesc{
		{StreamName: "Server", Handler: mirrored, ServerStreams: true},
		{StreamName: "Client", Handler: mirrored, ClientStreams: true},
		{StreamName: "Both", Handler: mirrored, ClientStreams: true, ServerStreams: true},
	},
}

// mirrored answers each message at once, or if the client streams to it and does not listen,
// the last one.
func mirrored(_ any, stream grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(stream)
	stream.SetTrailer(metadata.Pairs("trailer", method))
	var last proto.Message
	for {
		var in wrapperspb.StringValue
		err := stream.RecvMsg(&in)
		if err == io.EOF && method == "/test.Mirror/Client" && last != nil {
			return stream.SendMsg(last)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if last, err = reflected(stream.Context(), in.Value); err != nil {
			return err
		}
		if method != "/test.Mirror/Client" {
			if err := stream.SendMsg(last); err != nil {
				return err
			}
		}
	}
}

// reflected is what a server has to say of a request: its text may ask for more than a reply.
func reflected(ctx context.Context, text string) (proto.Message, error) {
	switch text {
	case "wait":
		<-ctx.Done()
		return nil, status.FromContextError(ctx.Err()).Err()
	case "large":
		return wrapperspb.String(strings.Repeat("large", 1000)), nil
	case "fail":
		s, err := status.New(codes.Aborted, "told to fail").WithDetails(wrapperspb.String("detail"))
		if err != nil {
			return nil, err
		}
		return nil, s.Err()
	}
	md, _ := metadata.FromIncomingContext(ctx)
	said := text
	for _, key := range slices.Sorted(maps.Keys(md)) {
		said += fmt.Sprintf(" %s=%q", key, md[key])
	}
	if deadline, ok := ctx.Deadline(); ok {
		said += fmt.Sprintf(" within %v", time.Until(deadline).Round(time.Millisecond))
	}
	return wrapperspb.String(said), nil
}

// passport is a credential of each call.
type passport struct{ err error }

func (p passport) GetRequestMetadata(ctx context.Context, uri ...string) (map[string]string, error) {
	info, _ := credentials.RequestInfoFromContext(ctx)
	return map[string]string{"token": fmt.Sprint(info.Method, uri)}, p.err
}

func (passport) RequireTransportSecurity() bool { return false }

// deed is what a caller does with one call.
type deed struct {
	name   string
	ctx    func(context.Context) context.Context
	opts   []grpc.CallOption
	send   []any         // messages, the first one the request of a call that sends one
	within time.Duration // the caller's deadline; 0: none
	cancel time.Duration // after which the caller gives up; 0: never
}

// secondUp is a second that gRPC rounds up on the wire: the caller's deadline is over before
// the server's.
const secondUp = time.Second + time.Nanosecond

func deeds() []deed {
	text := func(s string) []any { return []any{wrapperspb.String(s)} }
	return []deed{
		{name: "plain", send: text("a")},
		{name: "several", send: append(text("a"), text("b")...)},
		{name: "none sent"},
		{name: "deadline", within: secondUp, send: text("a")},
		{name: "deadline that runs out", within: secondUp, send: text("wait")},
		{name: "ended before", ctx: func(ctx context.Context) context.Context {
			ctx, cancel := context.WithCancel(ctx)
			cancel()
			return ctx
		}, send: text("a")},
		{name: "cancelled", send: text("wait"), cancel: time.Second},
		{name: "metadata", ctx: func(ctx context.Context) context.Context {
			return metadata.AppendToOutgoingContext(ctx, "key", "a", "key", "b", "blob-bin", "\x00")
		}, send: text("a")},
		{name: "priority and key", ctx: func(ctx context.Context) context.Context {
			return surecall.WithPriority(surecall.Sticky(ctx, "k"), limit.Critical)
		}, send: text("a")},
		{name: "an error", send: text("fail")},
		{name: "credentials", opts: []grpc.CallOption{grpc.PerRPCCredentials(passport{})}, send: text("a")},
		{name: "credentials that fail", opts: []grpc.CallOption{grpc.PerRPCCredentials(passport{io.ErrUnexpectedEOF})}, send: text("a")},
		{name: "compressed", opts: []grpc.CallOption{grpc.UseCompressor(gzip.Name)}, send: text("a")},
		{name: "no such compression", opts: []grpc.CallOption{grpc.UseCompressor("none such")}, send: text("a")},
		{name: "no such codec", opts: []grpc.CallOption{grpc.CallContentSubtype("none such")}, send: text("a")},
		{name: "too large to send", opts: []grpc.CallOption{grpc.MaxCallSendMsgSize(1)}, send: text("abc")},
		{name: "too large to receive", opts: []grpc.CallOption{grpc.MaxCallRecvMsgSize(100)}, send: text("large")},
		{name: "no message", send: []any{"no message"}},
		{name: "options of ours", opts: []grpc.CallOption{
			surecall.ForCall(surecall.WithCallDeadline(time.Millisecond), surecall.WithCallID()), surecall.ForCall(nil),
		}, send: text("wait"), cancel: time.Second},
	}
}

// do makes a call of each kind, and returns all that its caller has seen, in order.
func (d deed) do(conn grpc.ClientConnInterface, kind grpc.StreamDesc) (saw []string) {
	start := time.Now()
	note := func(what string, err error, more ...any) {
		saw = append(saw, fmt.Sprintf("%s: %s %q", what, ended(start, err), fmt.Sprint(more...)))
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if d.ctx != nil {
		ctx = d.ctx(ctx)
	}
	if d.within > 0 {
		ctx, cancel = context.WithTimeout(ctx, d.within)
		defer cancel()
	}
	if d.cancel > 0 {
		defer time.AfterFunc(d.cancel, cancel).Stop()
	}
	var header, trailer metadata.MD
	var from peer.Peer
	finished := make(chan error, 9)
	opts := append([]grpc.CallOption{
		grpc.Header(&header), grpc.Trailer(&trailer), grpc.Peer(&from), grpc.OnFinish(func(err error) { finished <- err }),
	}, d.opts...)
	var out wrapperspb.StringValue
	method := "/test.Mirror/" + kind.StreamName
	var err error
	if kind.StreamName == "Unary" {
		var in any
		if len(d.send) > 0 {
			in = d.send[0]
		}
		err = conn.Invoke(ctx, method, in, &out, opts...)
		note("invoked", err, out.Value)
	} else if stream, failed := conn.NewStream(ctx, &kind, method, opts...); failed != nil {
		err = failed
		note("opened", err, stream)
	} else {
		for n, m := range d.send {
			synctest.Wait()
			if err = stream.SendMsg(m); err != nil {
				note("sent", err)
				break
			}
			if n > 0 || kind.StreamName != "Both" {
				continue
			}
			var md metadata.MD
			md, err = stream.Header()
			note("header", err, map[string][]string(md))
			err = stream.RecvMsg(&out)
			note("received", err, out.Value)
		}
		note("closed", stream.CloseSend())
		for n := 0; n < 5 && err == nil; n++ {
			err = stream.RecvMsg(&out)
			note("received", err, out.Value)
		}
	}
	cancel()
	synctest.Wait()
	close(finished)
	for err := range finished {
		note("finished", err)
	}
	if err == nil || err == io.EOF || status.Code(err) == codes.Aborted { // else it may have come, or not yet
		header, trailer := map[string][]string(header), map[string][]string(trailer) // which would hide their values
		note("options", nil, header, trailer, from.Addr != nil, from.AuthInfo)
	}
	return saw
}

// What a server receives of a client in shadow mode, and what the caller sees of gRPC by
// whichever option, message and end, is what it is with plain gRPC.
func TestShadowIsPlainOnTheWire(t *testing.T) {
	run := func(t *testing.T, connect func(*testing.T, *surecalltest.Cluster) grpc.ClientConnInterface) map[string]string {
		all := map[string]string{}
		bubble(t, func(t *testing.T) {
			c := surecalltest.NewClusterOf(t, 3, func(r grpc.ServiceRegistrar, _ *surecalltest.Instance) { r.RegisterService(&mirror, nil) })
			for _, i := range c.Instances() { // with whom a client that acts exchanges marks
				i.Change(func(d *discovery.Instance) { d.Meta = map[string]string{discovery.MetaLifecycle: "1"} })
			}
			conn := connect(t, c)
			kinds := append([]grpc.StreamDesc{{StreamName: "Unary"}}, mirror.Streams...)
			for _, kind := range kinds {
				for _, d := range deeds() {
					all[kind.StreamName+", "+d.name] = strings.ReplaceAll(strings.Join(d.do(conn, kind), "\n"), surecalltest.Service, "…")
				}
			}
		})
		return all
	}
	want := run(t, func(t *testing.T, c *surecalltest.Cluster) grpc.ClientConnInterface { return roundRobin(t, c) })
	for name, opts := range map[string][]surecall.Option{"defaults": nil, "everything": strictest()} {
		t.Run(name, func(t *testing.T) {
			got := run(t, func(t *testing.T, c *surecalltest.Cluster) grpc.ClientConnInterface {
				return ready(t, c, append(opts, surecall.WithShadow())...)
			})
			for _, what := range slices.Sorted(maps.Keys(want)) {
				if got[what] != want[what] {
					t.Errorf("%s: plain gRPC\n%s\nshadow\n%s", what, want[what], got[what])
				}
			}
		})
	}
}
