package breaker_test

import (
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/surecall/surecall/breaker"
)

// modelMethod is small, so that short sequences reach every state.
var modelMethod = breaker.MethodPolicy{
	MinRequests: 4,
	Open:        time.Second,
	MaxOpen:     5 * time.Second,
	StepBack:    4 * time.Second,
	Trials:      2,
	SlowCall:    time.Second,
	SlowRatio:   0.75,
}.WithDefaults()

// methodReference is a method breaker written as plainly as possible: it keeps every
// result and counts anew each time.
type methodReference struct {
	dryRun    bool
	mode      breaker.Mode
	state     breaker.State
	epoch     int
	doublings int
	start     time.Time // of the state, but half-open
	until     time.Time
	due       time.Time // half-open: of the next trial
	given     int       // trials, in all
	succeeded int       // trials
	results   []callResult
}

type callResult struct {
	at           time.Time
	failed, slow bool
}

func (r *methodReference) window() (requests, failures, slow int) {
	step := func(t time.Time) int { return int(t.Sub(r.start) / time.Second) }
	for _, c := range r.results {
		if step(c.at) > step(time.Now())-10 {
			requests++
			if c.failed {
				failures++
			}
			if c.slow {
				slow++
			}
		}
	}
	return requests, failures, slow
}

func (r *methodReference) enter(s breaker.State) {
	*r = methodReference{
		dryRun: r.dryRun, mode: r.mode, state: s, epoch: r.epoch + 1, doublings: r.doublings, start: time.Now(),
		given: r.given,
	}
}

// open leaves until to b, and checks it.
func (r *methodReference) open(t *testing.T, b *breaker.Method) {
	if r.state == breaker.StateClosed {
		r.doublings = max(0, r.doublings-int(time.Since(r.start)/modelMethod.StepBack))
	}
	span := modelMethod.Open
	for range r.doublings {
		span *= 2
	}
	if span < modelMethod.MaxOpen {
		r.doublings++
	}
	span = min(span, modelMethod.MaxOpen)
	r.enter(breaker.StateOpen)
	r.until = b.Counts().OpenUntil
	jitter := time.Duration(modelMethod.Jitter * float64(span))
	if got := time.Until(r.until); got < span-jitter || got > span+jitter {
		t.Fatalf("open for %v, want %v ± %v", got, span, jitter)
	}
}

func (r *methodReference) shown() breaker.State {
	if r.dryRun && r.mode == breaker.Automatic {
		return breaker.StateClosed
	}
	return r.state
}

// halfOpen makes way for a trial, if one is due.
func (r *methodReference) halfOpen() bool {
	now := time.Now()
	switch {
	case r.state == breaker.StateHalfOpen:
		return !now.Before(r.due)
	case now.Before(r.until):
		return false
	}
	until := r.until
	r.enter(breaker.StateHalfOpen)
	r.until = until
	return true
}

func (r *methodReference) pass() bool {
	switch {
	case r.shown() == breaker.StateClosed:
		return true
	case r.mode == breaker.ForcedOpen, !r.halfOpen():
		return false
	}
	r.due = time.Now().Add(modelMethod.Open)
	r.given++
	return true
}

// latest is the number of the trial that passed last, 0 if what passes is none.
func (r *methodReference) latest() int {
	if r.shown() == breaker.StateClosed {
		return 0
	}
	return r.given
}

func (r *methodReference) trial(t *testing.T, b *breaker.Method, trial int, failed bool) {
	if failed {
		r.open(t, b)
		return
	}
	if trial == r.latest() {
		r.due = time.Now()
	}
	if r.succeeded++; r.succeeded == modelMethod.Trials {
		r.enter(breaker.StateClosed)
	}
}

// record is told after b was, for the end of an opening.
func (r *methodReference) record(t *testing.T, b *breaker.Method, epoch, trial int, v breaker.Verdict, slow bool) {
	if epoch != r.epoch || r.mode != breaker.Automatic {
		return
	}
	bad := v != breaker.Success
	switch {
	case v == breaker.Ignored:
		if r.state == breaker.StateHalfOpen && !r.dryRun && trial == r.given {
			r.due = time.Now()
		}
	case r.state == breaker.StateClosed:
		r.results = append(r.results, callResult{time.Now(), bad, slow})
		requests, failures, slows := r.window()
		if requests >= modelMethod.MinRequests && (bad && 2*failures >= requests || slow && 4*slows >= 3*requests) {
			r.open(t, b)
		}
	case r.dryRun:
		if r.halfOpen() {
			r.trial(t, b, 0, bad || slow)
		}
	default:
		r.trial(t, b, trial, bad || slow)
	}
}

func (r *methodReference) setMode(m breaker.Mode) {
	r.mode, r.doublings = m, 0
	if m == breaker.ForcedOpen {
		r.enter(breaker.StateOpen)
	} else {
		r.enter(breaker.StateClosed)
	}
}

// playMethod interprets each pair of bytes as an operation and an argument, on a breaker
// and its reference, and compares them after each.
func playMethod(t *testing.T, dryRun bool, program []byte) (openings int) {
	policy := modelMethod
	policy.DryRun = dryRun
	told := breaker.StateClosed
	b := breaker.NewMethod(policy, func(c breaker.Change) {
		if c.From != told && !c.DryRun {
			t.Fatalf("told of a change from %v, want from %v", c.From, told)
		}
		if !c.DryRun {
			told = c.To
		}
	})
	ref := &methodReference{dryRun: dryRun, start: time.Now()}
	type inFlight struct {
		entry        breaker.Entry
		epoch, trial int
	}
	var calls []inFlight
	for n := 0; n+1 < len(program); n += 2 {
		op, arg := program[n]%8, int(program[n+1])
		verdict, slow := breaker.Verdict(arg%4), arg/4%2 == 1
		elapsed := modelMethod.SlowCall - 1
		if slow {
			elapsed++
		}
		switch op {
		case 0:
			time.Sleep(time.Duration(arg) * 10 * ms)
		case 1:
			time.Sleep(time.Duration(arg) * 100 * ms)
		case 2, 3, 4, 5:
			e, ok := b.Enter(time.Now())
			if want := ref.pass(); ok != want {
				t.Fatalf("step %d: passed is %v, want %v: %+v", n/2, ok, want, ref)
			}
			switch {
			case !ok:
			case op == 5:
				calls = append(calls, inFlight{e, ref.epoch, ref.latest()})
			default:
				b.Record(e, verdict, elapsed, time.Now())
				ref.record(t, b, ref.epoch, ref.latest(), verdict, slow)
			}
		case 6:
			if len(calls) > 0 {
				k := arg / 8 % len(calls)
				c := calls[k]
				calls = append(calls[:k], calls[k+1:]...)
				b.Record(c.entry, verdict, elapsed, time.Now())
				ref.record(t, b, c.epoch, c.trial, verdict, slow)
			}
		case 7:
			if arg%16 == 15 {
				b.Reset()
				if ref.mode == breaker.Automatic {
					ref.setMode(breaker.Automatic)
				}
				break
			}
			if mode := breaker.Mode(arg % 16); mode <= breaker.Disabled || ref.mode != breaker.Automatic {
				b.SetMode(mode % 3)
				ref.setMode(mode % 3)
			}
		}
		got := b.Counts()
		want := breaker.MethodCounts{
			State: ref.state, Mode: ref.mode, DryRun: dryRun, OpenUntil: ref.until,
			Openings: got.Openings, OpenSince: got.OpenSince, // for display only
		}
		want.Requests, want.Failures, want.Slow = ref.window()
		if ref.state == breaker.StateHalfOpen {
			want.Requests = got.Requests // trials
		}
		if got != want || b.State() != ref.shown() || told != b.State() {
			t.Fatalf("step %d: shown %v, told %v, want %v\n got %+v\nwant %+v", n/2, b.State(), told, ref.shown(), got, want)
		}
		openings = got.Openings
	}
	return openings
}

func TestMethodModel(t *testing.T) {
	openings := 0
	for seed := range uint64(1000) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		program := make([]byte, 400)
		for i := range program {
			program[i] = byte(rnd.Uint32())
		}
		synctest.Test(t, func(t *testing.T) { openings += playMethod(t, seed%4 == 0, program) })
		if t.Failed() {
			t.Fatalf("with seed %d", seed)
		}
	}
	if openings < 5000 {
		t.Fatalf("the programs opened it %d times only: they test little", openings)
	}
}

func FuzzMethod(f *testing.F) {
	f.Add(false, []byte{2, 2, 2, 2, 2, 2, 2, 2, 1, 20, 2, 1, 2, 1})                    // trip, wait, two trials
	f.Add(false, []byte{2, 5, 2, 5, 2, 5, 2, 5, 1, 20, 5, 0, 1, 20, 5, 0, 6, 1})       // slow calls, a lost trial
	f.Add(false, []byte{2, 2, 2, 2, 2, 2, 2, 2, 1, 20, 5, 0, 1, 20, 5, 0, 6, 0, 5, 0}) // a lost trial ends beside the next
	f.Add(true, []byte{2, 2, 2, 2, 2, 2, 2, 2, 1, 20, 2, 1, 2, 2, 1, 60, 2, 1, 2})     // a dry run's trials
	f.Add(false, []byte{7, 1, 2, 2, 7, 0, 2, 2, 2, 2, 2, 2, 2, 2})                     // forced open, and back
	f.Fuzz(func(t *testing.T, dryRun bool, program []byte) {
		if len(program) > 2000 {
			t.Skip("longer than it is worth")
		}
		synctest.Test(t, func(t *testing.T) { playMethod(t, dryRun, program) })
	})
}
