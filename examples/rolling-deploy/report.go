package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// kind is a kind of call.
type kind int

const (
	idempotent kind = iota
	notIdempotent
	streams
	longStreams
	kinds
)

func (k kind) String() string {
	return [...]string{"idempotent", "not idempotent", fmt.Sprint("streams of ", messages*interval), "long streams, moved"}[k]
}

// outcome is how a call ended.
type outcome struct {
	failed error     // a unary call, or a stream before its first message
	broken error     // a stream between its first message and its end
	at     time.Time // of the answer or the first message; zero: now
}

// tally counts calls that ended. A slow start counts as a wait too: times are counted
// from when a call was due.
type tally struct {
	calls, failed, broken int
	slowest               time.Duration
}

func (t *tally) merge(other tally) {
	t.calls += other.calls
	t.failed += other.failed
	t.broken += other.broken
	t.slowest = max(t.slowest, other.slowest)
}

// score is what came of the calls of some clients.
type score struct {
	mu    sync.Mutex
	kinds [kinds]tally
	first error // the first failure
}

func (s *score) note(k kind, due time.Time, o outcome) {
	if o.at.IsZero() {
		o.at = time.Now()
	}
	t := tally{calls: 1, slowest: o.at.Sub(due)}
	if o.failed != nil {
		t.failed = 1
	}
	if o.broken != nil {
		t.broken = 1
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kinds[k].merge(t)
	if s.first == nil {
		s.first = errors.Join(o.failed, o.broken)
	}
}

// all is the sum over all kinds of calls.
func (s *score) all() (t tally, first error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.kinds {
		t.merge(k)
	}
	return t, s.first
}

// report is what came of the show.
type report struct {
	sure, plain *score
	rounds      []round
	took        time.Duration
}

func newReport(c *clients, rounds []round, took time.Duration) *report {
	return &report{sure: c.sure, plain: c.plain, rounds: rounds, took: took}
}

// failure says what went wrong, with whom; nil if nothing did.
func (r *report) failure() error {
	var errs []error
	for _, who := range []struct {
		name  string
		score *score
	}{{"surecall", r.sure}, {"plain gRPC", r.plain}} {
		if t, first := who.score.all(); t.failed+t.broken > 0 {
			errs = append(errs, fmt.Errorf("%s: %d calls failed and %d streams broke, the first: %w", who.name, t.failed, t.broken, first))
		}
	}
	return errors.Join(errs...)
}

// json writes what the surecall clients saw, as one object.
func (r *report) json(out io.Writer) error {
	t, _ := r.sure.all()
	return json.NewEncoder(out).Encode(struct {
		Calls         int     `json:"calls"`
		Failed        int     `json:"failed"`
		StreamsBroken int     `json:"streams_broken"`
		SlowestMS     float64 `json:"slowest_ms"`
		Rounds        int     `json:"rounds"`
	}{t.calls, t.failed, t.broken, ms(t.slowest), len(r.rounds)})
}

// ms is d in milliseconds, to a tenth.
func ms(d time.Duration) float64 {
	return float64(d.Round(100*time.Microsecond)) / float64(time.Millisecond)
}
