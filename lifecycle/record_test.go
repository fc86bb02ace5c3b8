package lifecycle_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/surecall/surecall/examples/orders"
	"github.com/surecall/surecall/internal/wire"
	"github.com/surecall/surecall/lifecycle"
	"github.com/surecall/surecall/lifecycle/internal/replay"
)

const (
	getMethod    = "/orders.v1.Orders/Get"
	cancelMethod = "/orders.v1.Orders/Cancel"
	placeMethod  = "/orders.v1.Orders/Place"
)

func recorder(t testing.TB, p lifecycle.RecordPolicy) *lifecycle.Recorder {
	t.Helper()
	r, err := lifecycle.Record(p)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// through sends a request through the interceptor to a handler that ends with err.
func through(ctx context.Context, r *lifecycle.Recorder, method string, req any, err error) error {
	_, got := r.UnaryInterceptor()(ctx, req, &grpc.UnaryServerInfo{FullMethod: method}, func(context.Context, any) (any, error) {
		return nil, err
	})
	return got
}

// recorded returns what a recorder holds, each as method and ID.
func recorded(t testing.TB, r *lifecycle.Recorder) []string {
	t.Helper()
	var b bytes.Buffer
	if _, err := r.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	var got []string
	for in := replay.NewReader(&b); ; {
		rec, err := in.Next()
		if err == io.EOF {
			slices.Sort(got)
			return got
		}
		var m orders.GetRequest
		if err = errors.Join(err, proto.Unmarshal(rec.Message, &m)); err != nil {
			t.Fatal(err)
		}
		got = append(got, rec.Method+" "+m.GetId())
	}
}

func TestWhatIsRecorded(t *testing.T) {
	replayed := metadata.NewIncomingContext(t.Context(), metadata.Pairs(wire.Replay, "1"))
	get := func(id string) *orders.GetRequest { return &orders.GetRequest{Id: id} }
	tests := []struct {
		name   string
		policy lifecycle.RecordPolicy
		ctx    context.Context
		method string
		req    any
		err    error
		want   string
		status lifecycle.RecordStatus
	}{
		{name: "no side effects", method: getMethod, req: get("1"), want: getMethod + " 1"},
		{name: "an empty message", method: getMethod, req: get(""), want: getMethod + " "},
		{name: "idempotent", method: cancelMethod, req: &orders.CancelRequest{Id: "1"},
			status: lifecycle.RecordStatus{SideEffects: []string{cancelMethod}}},
		{name: "side effects", method: placeMethod, req: &orders.PlaceRequest{Item: "1"},
			status: lifecycle.RecordStatus{SideEffects: []string{placeMethod}}},
		{name: "side effects, allowed", policy: lifecycle.RecordPolicy{SideEffects: []string{"/orders.v1.Orders/Ca*"}},
			method: cancelMethod, req: &orders.CancelRequest{Id: "1"}, want: cancelMethod + " 1"},
		{name: "not asked for", policy: lifecycle.RecordPolicy{Methods: []string{"/orders.v1.Orders/List*"}}, method: getMethod, req: get("1")},
		{name: "a failed call", method: getMethod, req: get("1"), err: errors.New("no such order")},
		{name: "a replay", ctx: replayed, method: getMethod, req: get("1")},
		{name: "as large as it may be", policy: lifecycle.RecordPolicy{MaxMessage: 12}, method: getMethod, req: get("1234567890"),
			want: getMethod + " 1234567890"},
		{name: "too large", policy: lifecycle.RecordPolicy{MaxMessage: 12}, method: getMethod, req: get("12345678901"),
			status: lifecycle.RecordStatus{TooLarge: 1}},
		{name: "no message", method: getMethod, req: "a custom codec's", status: lifecycle.RecordStatus{Failed: 1}},
		{name: "not to be marshaled", method: getMethod, req: get("\xff"), status: lifecycle.RecordStatus{Failed: 1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := recorder(t, tt.policy)
			if tt.ctx == nil {
				tt.ctx = t.Context()
			}
			if err := through(tt.ctx, r, tt.method, tt.req, tt.err); err != tt.err {
				t.Errorf("the call ended with %v, want %v", err, tt.err)
			}
			if got := strings.Join(recorded(t, r), ","); got != tt.want {
				t.Errorf("recorded %q, want %q", got, tt.want)
			}
			got := r.Status()
			got.Records, got.Bytes = 0, 0
			if fmt.Sprint(got) != fmt.Sprint(tt.status) {
				t.Errorf("status %+v, want %+v", got, tt.status)
			}
		})
	}
}

func TestRedact(t *testing.T) {
	tests := []struct {
		name   string
		redact func(string, proto.Message) proto.Message
		want   string
		status lifecycle.RecordStatus
	}{
		{name: "changes the copy", want: getMethod + " xxx", redact: func(_ string, m proto.Message) proto.Message {
			m.(*orders.GetRequest).Id = "xxx"
			return m
		}},
		{name: "returns another", want: getMethod + " /orders.v1.Orders/Get", redact: func(method string, _ proto.Message) proto.Message {
			return &orders.GetRequest{Id: method}
		}},
		{name: "drops", status: lifecycle.RecordStatus{Redacted: 1}, redact: func(string, proto.Message) proto.Message { return nil }},
		{name: "drops with a nil pointer", status: lifecycle.RecordStatus{Redacted: 1}, redact: func(string, proto.Message) proto.Message {
			return (*orders.GetRequest)(nil)
		}},
		{name: "panics", status: lifecycle.RecordStatus{Failed: 1}, redact: func(string, proto.Message) proto.Message { panic("no") }},
		{name: "makes it too large", status: lifecycle.RecordStatus{TooLarge: 1}, redact: func(string, proto.Message) proto.Message {
			return &orders.GetRequest{Id: strings.Repeat("x", 64<<10)}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := recorder(t, lifecycle.RecordPolicy{Redact: tt.redact})
			req := &orders.GetRequest{Id: "secret"}
			if err := through(t.Context(), r, getMethod, req, nil); err != nil {
				t.Fatal(err)
			}
			if req.GetId() != "secret" {
				t.Errorf("the request was changed: %v", req)
			}
			if got := strings.Join(recorded(t, r), ","); got != tt.want {
				t.Errorf("recorded %q, want %q", got, tt.want)
			}
			got := r.Status()
			got.Records, got.Bytes = 0, 0
			if fmt.Sprint(got) != fmt.Sprint(tt.status) {
				t.Errorf("status %+v, want %+v", got, tt.status)
			}
		})
	}
}

// What a newer caller sends beside the fields that this server knows, no hook of this
// server can redact.
func TestRedactedMessagesHoldNoUnknownFields(t *testing.T) {
	req := &orders.GetRequest{Id: "known"}
	req.ProtoReflect().SetUnknown(protowire.AppendString(protowire.AppendTag(nil, 99, protowire.BytesType), "secret"))
	r := recorder(t, lifecycle.RecordPolicy{Redact: func(_ string, m proto.Message) proto.Message { return m }})
	_ = through(t.Context(), r, getMethod, req, nil)
	var b bytes.Buffer
	if _, err := r.WriteTo(&b); err != nil || !strings.Contains(b.String(), "known") || strings.Contains(b.String(), "secret") {
		t.Errorf("recorded %q, %v", &b, err)
	}
}

// A handler may do with its request what it likes.
func TestTheRequestIsRecordedAsItCame(t *testing.T) {
	r := recorder(t, lifecycle.RecordPolicy{})
	_, err := r.UnaryInterceptor()(t.Context(), &orders.GetRequest{Id: "as it came"}, &grpc.UnaryServerInfo{FullMethod: getMethod},
		func(_ context.Context, req any) (any, error) {
			req.(*orders.GetRequest).Id = "changed"
			return nil, nil
		})
	if got := recorded(t, r); err != nil || !slices.Equal(got, []string{getMethod + " as it came"}) {
		t.Errorf("recorded %q, %v", got, err)
	}
}

func TestAPanicOfTheHandlerPassesThrough(t *testing.T) {
	r := recorder(t, lifecycle.RecordPolicy{})
	defer func() {
		if got := recover(); got != "the handler's" {
			t.Errorf("recovered %v", got)
		}
		if got := recorded(t, r); len(got) != 0 {
			t.Errorf("recorded %q", got)
		}
	}()
	_, _ = r.UnaryInterceptor()(t.Context(), &orders.GetRequest{}, &grpc.UnaryServerInfo{FullMethod: getMethod},
		func(context.Context, any) (any, error) { panic("the handler's") })
}

// Replays come before the first caller, and must not use up what is recorded of the
// first requests.
func TestReplaysUseUpNoSample(t *testing.T) {
	r := recorder(t, lifecycle.RecordPolicy{PerMethod: 3, Ratio: 1e-9})
	replayed := metadata.NewIncomingContext(t.Context(), metadata.Pairs(wire.Replay, "1"))
	for range 10 {
		_ = through(replayed, r, getMethod, &orders.GetRequest{Id: "replayed"}, nil)
	}
	for n := range 10 {
		_ = through(t.Context(), r, getMethod, &orders.GetRequest{Id: fmt.Sprint(n)}, nil)
	}
	if got := recorded(t, r); fmt.Sprint(got) != fmt.Sprint([]string{getMethod + " 0", getMethod + " 1", getMethod + " 2"}) {
		t.Errorf("recorded %q, want the first three", got)
	}
}

func TestRecordPolicyIsValidatedAtOnce(t *testing.T) {
	if err := (lifecycle.RecordPolicy{}).Validate(); err != nil {
		t.Errorf("the default: %v", err)
	}
	_, err := lifecycle.Record(lifecycle.RecordPolicy{
		Ratio: 1.5, PerMethod: -1, MaxMessage: 5 << 20, MaxBytes: 100, Methods: []string{"Get"}, SideEffects: []string{"/a/b/c"},
	})
	for _, want := range []string{
		"lifecycle: RecordPolicy.Ratio 1.5: want 0 to 1",
		"lifecycle: RecordPolicy.PerMethod -1: want 1 to",
		"lifecycle: RecordPolicy.MaxMessage 5242880: want 1 to 4194304",
		"lifecycle: RecordPolicy.MaxBytes 100: want",
		`lifecycle: RecordPolicy.Methods "Get": want /package.Service/Method`,
		`lifecycle: RecordPolicy.SideEffects "/a/b/c": want`,
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
}

// BenchmarkRecord is a call with a recorder less a call without: 0 allocations as long
// as it is not sampled.
func BenchmarkRecord(b *testing.B) {
	req, info := &orders.GetRequest{Id: "an-order"}, &grpc.UnaryServerInfo{FullMethod: getMethod}
	handle := func(context.Context, any) (any, error) { return nil, nil }
	for name, p := range map[string]lifecycle.RecordPolicy{
		"passed over": {Ratio: 1e-9, PerMethod: 1},
		"default":     {},
		"each":        {Ratio: 1},
		"redacted":    {Ratio: 1, Redact: func(_ string, m proto.Message) proto.Message { return m }},
	} {
		b.Run(name, func(b *testing.B) {
			intercept := recorder(b, p).UnaryInterceptor()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := intercept(b.Context(), req, info, handle); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func ExampleRecord() {
	recorder, err := lifecycle.Record(lifecycle.RecordPolicy{
		Redact: func(_ string, m proto.Message) proto.Message {
			if get, ok := m.(*orders.GetRequest); ok && strings.HasPrefix(get.GetId(), "vip-") {
				return nil // not even for a warm-up
			}
			return m
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	server := grpc.NewServer(grpc.ChainUnaryInterceptor(recorder.UnaryInterceptor()))
	defer server.Stop()

	// What the server does with a request:
	for _, id := range []string{"o-1", "vip-2", "o-3"} {
		_ = through(context.Background(), recorder, "/orders.v1.Orders/Get", &orders.GetRequest{Id: id}, nil)
	}

	// In a hook after the drain, say:
	file, err := os.CreateTemp("", "recording") // 0600: it holds what callers sent
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.Remove(file.Name())
	defer file.Close()
	written, err := recorder.WriteTo(file)
	fmt.Println(recorder.Status().Records, "requests,", recorder.Status().Redacted, "dropped,", written, "bytes,", err)
	// Output: 2 requests, 1 dropped, 98 bytes, <nil>
}
