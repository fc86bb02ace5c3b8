package lifecycle

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"google.golang.org/grpc"

	"github.com/surecall/surecall/lifecycle/internal/replay"
)

// ReplayPolicy says how a recording is replayed. The zero value is the documented
// default, and so is each zero field.
type ReplayPolicy struct {
	// PerMethod is how often each method of the recording is called, with as many
	// different requests as there are, in a circle. Default 100.
	PerMethod int

	// Parallelism is how many calls are made at once. Default 4: warm-up should not look
	// like an overload to the server.
	Parallelism int

	// CallTimeout bounds a call. Default 5s, the call deadline of a surecall client: the
	// first calls of a cold server are slow.
	CallTimeout time.Duration

	// MinAnswered is the share of all calls that must be answered for the step to succeed,
	// in 0…1. NOT_FOUND, ALREADY_EXISTS, FAILED_PRECONDITION and OUT_OF_RANGE are answers:
	// what a request asked for may be gone by now. Every other error is a failure.
	// Default 0.5: clients eject an instance that fails as much.
	MinAnswered float64

	// MaxBytes bounds how much of the recording is read and held. Default 64 MiB.
	MaxBytes int64

	// Methods are patterns of the methods that are replayed: "/orders.v1.Orders/Get", or
	// the beginning of some and a star. Default all.
	Methods []string

	// SideEffects are patterns of methods that are replayed although they are not marked
	// idempotency_level = NO_SIDE_EFFECTS. One that is merely IDEMPOTENT must be named
	// too: to cancel today what was cancelled yesterday is not a warm-up. Default none.
	SideEffects []string

	// Report is called once when the replay ends, whether it failed or not, on the
	// step's goroutine. Default none.
	Report func(ReplayReport)
}

// withDefaults returns p with every zero field replaced by its default.
func (p ReplayPolicy) withDefaults() ReplayPolicy {
	orDefault(&p.PerMethod, 100)
	orDefault(&p.Parallelism, 4)
	orDefault(&p.CallTimeout, 5*time.Second)
	orDefault(&p.MinAnswered, 0.5)
	orDefault(&p.MaxBytes, 64<<20)
	return p
}

// Validate reports everything that is wrong with p, joined; nil if nothing is.
func (p ReplayPolicy) Validate() error {
	p = p.withDefaults()
	errs := []error{
		within("ReplayPolicy.PerMethod", p.PerMethod, 1, 1_000_000),
		within("ReplayPolicy.Parallelism", p.Parallelism, 1, 1000),
		within("ReplayPolicy.CallTimeout", p.CallTimeout, time.Millisecond, time.Hour),
		within("ReplayPolicy.MinAnswered", p.MinAnswered, 0, 1),
		within("ReplayPolicy.MaxBytes", p.MaxBytes, 1, 1<<30),
	}
	for _, err := range (replay.Methods{Only: p.Methods, SideEffects: p.SideEffects}).Validate() {
		errs = append(errs, fmt.Errorf("lifecycle: ReplayPolicy.%w", err))
	}
	return errors.Join(errs...)
}

// Replay returns what a warm-up step runs: it reads a recording from r, which may be
// anything that reads, and sends its requests to the server itself, marked as replays
// ([IsReplay]). It needs no types of what it sends. Only unary methods without side
// effects are replayed unless the policy names others.
//
// It returns once each method was called PerMethod times, and fails if the policy is
// wrong, if the recording holds nothing to replay, if less than MinAnswered of the calls
// were answered, or if its context ended before; whether that stops the server's start
// is for the step to say. A recording that was cut off or damaged is replayed up to
// there, and reported.
//
// [Record] writes recordings. They may also be written by other means, in this format,
// whose numbers are big-endian:
//
//	recording = "surecall-replay/1\n"  record*  end
//	record    = size(4)  checksum(4)  body     size of the body in bytes, its CRC-32C
//	body      = length(2)  method  message     length of the method in bytes
//	end       = 0(4)  count(4)                 count of the records before it
//
// A method is a full one, "/orders.v1.Orders/Get", of at most 1,024 bytes; a message is
// a request as it is on the wire, not compressed, of at most 4 MiB.
//
// r is read to its end once, so that the step can run once. A reader that may block
// holds the step up, whatever its timeout; see [ReplayFrom].
func Replay(r io.Reader, p ReplayPolicy) func(context.Context, *grpc.ClientConn) error {
	return ReplayFrom(func(context.Context) (io.ReadCloser, error) { return io.NopCloser(r), nil }, p)
}

// ReplayFrom is [Replay] with a recording that is opened when the step begins, as one
// that is fetched from a peer must be. It is closed when it has been read, or when the
// step's context ends, to end a Read that blocks.
func ReplayFrom(open func(context.Context) (io.ReadCloser, error), p ReplayPolicy) func(context.Context, *grpc.ClientConn) error {
	invalid := p.Validate()
	p = p.withDefaults()
	return func(ctx context.Context, conn *grpc.ClientConn) error {
		if invalid != nil {
			return invalid
		}
		start := time.Now()
		script, err := load(ctx, open, p)
		var tallies []replay.Tally
		if err == nil {
			tallies = script.Play(ctx, conn, replay.Plan{PerMethod: p.PerMethod, Parallel: p.Parallelism, Timeout: p.CallTimeout})
		}
		report := newReport(script, tallies, time.Since(start))
		if p.Report != nil {
			p.Report(report)
		}
		if err != nil {
			return err
		}
		return report.judge(ctx, p)
	}
}

func load(ctx context.Context, open func(context.Context) (io.ReadCloser, error), p ReplayPolicy) (replay.Script, error) {
	recording, err := open(ctx)
	if err != nil {
		return replay.Script{}, fmt.Errorf("replay: open the recording: %w", err)
	}
	if recording == nil {
		return replay.Script{}, errors.New("replay: open the recording: got none")
	}
	stop := context.AfterFunc(ctx, func() { _ = recording.Close() })
	defer func() {
		if stop() {
			_ = recording.Close()
		}
	}()
	methods := replay.Methods{Only: p.Methods, SideEffects: p.SideEffects}
	return replay.Load(ctx, recording, methods, p.PerMethod, p.MaxBytes)
}

// ReplayReport is what came of a replay.
type ReplayReport struct {
	Methods    []ReplayedMethod // by name
	PassedOver []string         // methods of the recording that are not replayed, and why; at most 20
	Incomplete error            // why the recording was not read to its end; nil if it was
	Took       time.Duration
}

// ReplayedMethod is what came of the calls of one method.
type ReplayedMethod struct {
	Method  string
	Records int   // different requests in the recording
	Calls   int   // calls that ended
	Failed  int   // of them, those without an answer: see [ReplayPolicy].MinAnswered
	Err     error // the last failure
}

func newReport(s replay.Script, tallies []replay.Tally, took time.Duration) ReplayReport {
	r := ReplayReport{PassedOver: s.PassedOver, Incomplete: s.Incomplete, Took: took}
	for _, t := range tallies {
		r.Methods = append(r.Methods, ReplayedMethod(t))
	}
	return r
}

// judge says why the step fails; nil if it does not.
func (r ReplayReport) judge(ctx context.Context, p ReplayPolicy) error {
	calls, failed := r.count()
	if want := len(r.Methods) * p.PerMethod; calls < want {
		return fmt.Errorf("replay: %d of %d calls made: %w", calls, want, cmp.Or(context.Cause(ctx), context.DeadlineExceeded))
	}
	if answered := calls - failed; float64(answered) < p.MinAnswered*float64(calls) {
		worst := r.worst()
		return fmt.Errorf("replay: %d of %d calls answered, want MinAnswered %v; %d of %s failed, the last: %w",
			answered, calls, p.MinAnswered, worst.Failed, worst.Method, worst.Err)
	}
	return nil
}

func (r ReplayReport) count() (calls, failed int) {
	for _, m := range r.Methods {
		calls += m.Calls
		failed += m.Failed
	}
	return calls, failed
}

// worst returns the method with the most failures.
func (r ReplayReport) worst() (worst ReplayedMethod) {
	for _, m := range r.Methods {
		if m.Failed > worst.Failed {
			worst = m
		}
	}
	return worst
}

// String returns the report in one line.
func (r ReplayReport) String() string {
	calls, failed := r.count()
	var b strings.Builder
	fmt.Fprintf(&b, "%d calls of %d methods in %v, %d failed", calls, len(r.Methods), r.Took.Round(time.Millisecond), failed)
	if worst := r.worst(); worst.Failed > 0 {
		fmt.Fprintf(&b, " (%d of %s: %v)", worst.Failed, worst.Method, worst.Err)
	}
	if len(r.PassedOver) > 0 {
		fmt.Fprintf(&b, "; passed over: %s", strings.Join(r.PassedOver, ", "))
	}
	if r.Incomplete != nil {
		fmt.Fprintf(&b, "; incomplete: %v", r.Incomplete)
	}
	return b.String()
}
