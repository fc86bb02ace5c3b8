package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/surecall/surecall/internal/wire"
	"github.com/surecall/surecall/lifecycle/internal/replay"
)

// RecordPolicy says which requests are recorded. The zero value is the documented
// default, and so is each zero field.
type RecordPolicy struct {
	// Ratio is the share of a method's requests that are recorded once its first
	// PerMethod were, in 0…1. Default 0.01.
	Ratio float64

	// PerMethod is how many requests of a method are kept; then each new one takes the
	// place of a random one. Default 100.
	PerMethod int

	// MaxMessage is the size in bytes up to which a message is recorded. Default 64 KiB;
	// at most 4 MiB.
	MaxMessage int

	// MaxBytes bounds the whole recording, in memory and written. When it is passed the
	// method that holds most gives up random records. Default 8 MiB.
	MaxBytes int

	// Methods are patterns of the methods that are recorded: "/orders.v1.Orders/Get", or
	// the beginning of some and a star. Default all.
	Methods []string

	// SideEffects are patterns of methods that are recorded although they are not
	// marked idempotency_level = NO_SIDE_EFFECTS. Name what a new instance may do
	// again, as often as it likes. Default none.
	SideEffects []string

	// Redact gets a copy of each message that is to be recorded and returns what is
	// recorded in its place: the copy, changed or not, or nil to record nothing. The copy
	// has no fields that its type does not know, which the hook could not see. The hook
	// runs after the handler, on the call's goroutine; if it panics, nothing is recorded.
	// Default: messages are recorded as they are.
	Redact func(method string, message proto.Message) proto.Message
}

// withDefaults returns p with every zero field replaced by its default.
func (p RecordPolicy) withDefaults() RecordPolicy {
	orDefault(&p.Ratio, 0.01)
	orDefault(&p.PerMethod, 100)
	orDefault(&p.MaxMessage, 64<<10)
	orDefault(&p.MaxBytes, 8<<20)
	return p
}

// Validate reports everything that is wrong with p, joined; nil if nothing is.
func (p RecordPolicy) Validate() error {
	p = p.withDefaults()
	errs := []error{
		within("RecordPolicy.Ratio", p.Ratio, 0, 1),
		within("RecordPolicy.PerMethod", p.PerMethod, 1, 100_000),
		within("RecordPolicy.MaxMessage", p.MaxMessage, 1, replay.MaxMessage),
		within("RecordPolicy.MaxBytes", p.MaxBytes, replay.FrameSize(replay.MaxMethod, p.MaxMessage), 1<<30),
	}
	for _, err := range (replay.Methods{Only: p.Methods, SideEffects: p.SideEffects}).Validate() {
		errs = append(errs, fmt.Errorf("lifecycle: RecordPolicy.%w", err))
	}
	return errors.Join(errs...)
}

// Recorder keeps a sample of the requests that a server answers, for [Replay] to warm
// up another. It is safe for concurrent use, holds at most MaxBytes, and has no
// goroutine and nothing to close.
//
// What it keeps stays in memory until [Recorder.WriteTo] is called: from a hook after
// the drain, every now and then, or by a handler from which a new instance fetches it.
// Nothing is written while a call waits, a recording shows the traffic of late instead of
// that since the last rotation, and each method has its place in it however rare it is;
// the price is that a process that crashes leaves no recording.
//
// A recording holds what callers sent. Redact it, and keep it as you keep their data.
type Recorder struct {
	policy  RecordPolicy
	sampler *replay.Sampler

	tooLarge, redacted, failed atomic.Uint64
}

// Record returns a recorder, to be installed with [Recorder.UnaryInterceptor].
func Record(p RecordPolicy) (*Recorder, error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	p = p.withDefaults()
	limits := replay.Limits{Ratio: p.Ratio, PerMethod: p.PerMethod, MaxBytes: p.MaxBytes}
	methods := replay.Methods{Only: slices.Clone(p.Methods), SideEffects: slices.Clone(p.SideEffects)}
	return &Recorder{policy: p, sampler: replay.NewSampler(limits, methods, rand.Float64)}, nil
}

// UnaryInterceptor returns the interceptor that records. Install it inside those that
// authenticate, so that only what they let pass is recorded:
//
//	grpc.ChainUnaryInterceptor(authenticate, recorder.UnaryInterceptor())
//
// It records requests that were answered with OK, and never a replayed one. The request
// that the handler gets is not touched, and no call fails because of the recording. A
// call that is not sampled costs a map lookup and a random number, and allocates
// nothing; one that is costs its message's marshaling, and Redact.
func (r *Recorder) UnaryInterceptor() grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		if !r.sampler.Wants(info.FullMethod) {
			return handler(ctx, req)
		}
		if metadata.ValueFromIncomingContext(ctx, wire.Replay) != nil {
			r.sampler.PassOver(info.FullMethod)
			return handler(ctx, req)
		}
		taken := r.take(req) // before the handler, which may change its request
		resp, err := handler(ctx, req)
		if err == nil && taken != nil {
			r.keep(info.FullMethod, req, taken)
		}
		return resp, err
	}
}

// take returns a request as it is on the wire; nil if it is not to be recorded.
func (r *Recorder) take(req any) []byte {
	message, ok := req.(proto.Message)
	if !ok {
		r.failed.Add(1)
		return nil
	}
	if proto.Size(message) > r.policy.MaxMessage {
		r.tooLarge.Add(1)
		return nil
	}
	wired, err := marshal(message)
	if err != nil {
		r.failed.Add(1)
		return nil
	}
	return wired
}

// keep redacts and keeps what take took of a request of the type of req.
func (r *Recorder) keep(method string, req any, taken []byte) {
	if r.policy.Redact != nil {
		redacted, err := r.redact(method, req.(proto.Message), taken)
		switch {
		case err != nil:
			r.failed.Add(1)
			return
		case redacted == nil:
			r.redacted.Add(1)
			return
		case len(redacted) > r.policy.MaxMessage:
			r.tooLarge.Add(1)
			return
		}
		taken = redacted
	}
	r.sampler.Keep(method, taken)
}

// redact has the hook work on a copy of its own. It returns nil to record nothing.
func (r *Recorder) redact(method string, like proto.Message, taken []byte) (redacted []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("lifecycle: RecordPolicy.Redact panicked: %v", p)
		}
	}()
	message := like.ProtoReflect().New().Interface()
	if err := (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(taken, message); err != nil {
		return nil, err
	}
	if message = r.policy.Redact(method, message); message == nil || !message.ProtoReflect().IsValid() {
		return nil, nil // IsValid: a nil pointer in the interface is nil as well
	}
	return marshal(message)
}

// marshal returns a message as it is on the wire, not nil if it is empty.
func marshal(m proto.Message) ([]byte, error) {
	return proto.MarshalOptions{}.MarshalAppend([]byte{}, m)
}

// WriteTo writes what is recorded at this moment, whole, in the format that [Replay]
// reads. It may be called any number of times; calls go on meanwhile and do not wait
// for w, which gets one Write per request.
func (r *Recorder) WriteTo(w io.Writer) (int64, error) { return r.sampler.WriteTo(w) }

// RecordStatus is what a recorder holds and what it passed over.
type RecordStatus struct {
	Records  int    // requests held
	Bytes    int    // their size in a recording
	TooLarge uint64 // sampled, but larger than MaxMessage
	Redacted uint64 // sampled, but Redact returned nil
	Failed   uint64 // sampled, but no proto message, or Redact panicked
	// SideEffects are the methods that were called and are not recorded because they
	// are not marked NO_SIDE_EFFECTS, sorted.
	SideEffects []string
}

// Status returns how the recording stands.
func (r *Recorder) Status() RecordStatus {
	s := RecordStatus{TooLarge: r.tooLarge.Load(), Redacted: r.redacted.Load(), Failed: r.failed.Load()}
	var passed map[string]replay.Use
	s.Records, s.Bytes, passed = r.sampler.Count()
	maps.DeleteFunc(passed, func(_ string, use replay.Use) bool { return use != replay.SideEffects })
	s.SideEffects = slices.Sorted(maps.Keys(passed))
	return s
}

func orDefault[T ~int | ~int64 | ~float64](field *T, value T) {
	if *field == 0 {
		*field = value
	}
}

// within is written so that NaN is out of range.
func within[T ~int | ~int64 | ~float64](field string, value, least, most T) error {
	if value >= least && value <= most {
		return nil
	}
	return fmt.Errorf("lifecycle: %s %v: want %v to %v", field, value, least, most)
}
