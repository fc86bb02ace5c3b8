package surecallotel

import (
	"context"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"
)

// durations is the histogram of how long calls take.
type durations struct{ histogram metric.Float64Histogram }

func newDurations(c *config) (*durations, error) {
	const name = "surecall.client.call.duration"
	h, err := c.meter().Float64Histogram(name, metric.WithUnit("s"),
		metric.WithDescription("Duration of calls as their callers saw it, with all attempts and waits."),
		// The buckets that the semantic conventions advise for the duration of an RPC.
		metric.WithExplicitBucketBoundaries(.005, .01, .025, .05, .075, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10))
	if err != nil {
		return nil, fmt.Errorf("surecallotel: %s: %w", name, err)
	}
	return &durations{h}, nil
}

func (d *durations) record(ctx context.Context, m *method, took time.Duration, code codes.Code) {
	d.histogram.Record(ctx, took.Seconds(), m.record(code)...)
}

// record returns what a call of the method that ended with code is recorded under.
func (m *method) record(code codes.Code) []metric.RecordOption {
	if known := m.records[code].Load(); known != nil {
		return *known
	}
	attrs := append([]attribute.KeyValue{semconv.RPCResponseStatusCode(codeNames[code])}, m.attributes...)
	made := []metric.RecordOption{metric.WithAttributeSet(attribute.NewSet(attrs...))}
	m.records[code].Store(&made)
	return made
}

const codeCount = codes.Unauthenticated + 1

// codeNames are how the specification of gRPC, and the semantic conventions with it, spell
// the codes.
var codeNames = [codeCount]string{
	codes.OK: "OK", codes.Canceled: "CANCELLED", codes.Unknown: "UNKNOWN", codes.InvalidArgument: "INVALID_ARGUMENT",
	codes.DeadlineExceeded: "DEADLINE_EXCEEDED", codes.NotFound: "NOT_FOUND", codes.AlreadyExists: "ALREADY_EXISTS",
	codes.PermissionDenied: "PERMISSION_DENIED", codes.ResourceExhausted: "RESOURCE_EXHAUSTED",
	codes.FailedPrecondition: "FAILED_PRECONDITION", codes.Aborted: "ABORTED", codes.OutOfRange: "OUT_OF_RANGE",
	codes.Unimplemented: "UNIMPLEMENTED", codes.Internal: "INTERNAL", codes.Unavailable: "UNAVAILABLE",
	codes.DataLoss: "DATA_LOSS", codes.Unauthenticated: "UNAUTHENTICATED",
}

// codeOf returns the code of s; one that gRPC does not know is UNKNOWN.
func codeOf(s *grpcstatus.Status) codes.Code {
	if code := s.Code(); code < codeCount {
		return code
	}
	return codes.Unknown
}
