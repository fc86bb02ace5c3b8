package breaker_test

import (
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/surecall/surecall/breaker"
)

// modelPolicy is small, so that short sequences reach every state.
var modelPolicy = breaker.Policy{
	ConsecutiveFailures: 3,
	MinRequests:         6,
	Window:              10 * time.Second,
	Ejection:            time.Second,
	MaxEjection:         5 * time.Second,
	StepBack:            4 * time.Second,
}.WithDefaults()

// reference is an instance breaker written as plainly as possible: it keeps every
// result and counts anew each time.
type reference struct {
	dryRun    bool
	mode      breaker.Mode
	state     breaker.State
	overruled bool
	epoch     int
	run       int
	doublings int
	start     time.Time // of the closed time, or of the ejection's last part
	until     time.Time
	expires   time.Time // of the trial that runs
	results   []result
	may       bool
	rnd       float64
}

type result struct {
	at     time.Time
	failed bool
}

func (r *reference) window() (requests, failures int) {
	step := func(t time.Time) int { return int(t.Sub(r.start) / time.Second) }
	for _, e := range r.results {
		if step(e.at) > step(time.Now())-10 {
			requests++
			if e.failed {
				failures++
			}
		}
	}
	return requests, failures
}

func (r *reference) condemned() bool {
	requests, failures := r.window()
	return r.run >= modelPolicy.ConsecutiveFailures ||
		requests >= modelPolicy.MinRequests && 2*failures >= requests
}

// shown is the state that acts.
func (r *reference) shown() breaker.State {
	if r.dryRun && r.mode == breaker.Automatic {
		return breaker.StateClosed
	}
	return r.state
}

func (r *reference) record(epoch int, v breaker.Verdict) {
	if v == breaker.Ignored || r.mode != breaker.Automatic || r.shown() != breaker.StateClosed || epoch != r.epoch {
		return
	}
	if r.state == breaker.StateOpen {
		if !time.Now().Before(r.until) && time.Since(r.start) > time.Millisecond {
			r.enter(breaker.StateHalfOpen)
			r.done(r.epoch, v)
		}
		return
	}
	r.results = append(r.results, result{time.Now(), v != breaker.Success})
	switch {
	case v == breaker.Success:
		r.run = 0
		r.overruled = r.overruled && r.condemned()
		return
	case v == breaker.Failure:
		r.run++
	}
	if r.condemned() {
		if r.overruled = !r.may; r.may {
			steps := int(time.Since(r.start) / modelPolicy.StepBack)
			r.doublings = max(0, r.doublings-steps)
			r.eject()
		}
	}
}

func (r *reference) eject() {
	span := modelPolicy.Ejection
	for range r.doublings {
		span *= 2
	}
	if span < modelPolicy.MaxEjection {
		r.doublings++
	}
	span = min(span, modelPolicy.MaxEjection)
	r.enter(breaker.StateOpen)
	r.until = r.start.Add(span + time.Duration(modelPolicy.Jitter*(2*r.rnd-1)*float64(span)))
}

func (r *reference) enter(s breaker.State) {
	*r = reference{
		dryRun: r.dryRun, mode: r.mode, state: s, epoch: r.epoch + 1, doublings: r.doublings,
		start: time.Now(), may: r.may, rnd: r.rnd,
	}
}

func (r *reference) setMode(m breaker.Mode) {
	r.mode, r.doublings = m, 0
	if m == breaker.ForcedOpen {
		r.enter(breaker.StateOpen)
	} else {
		r.enter(breaker.StateClosed)
	}
}

func (r *reference) due() bool {
	if r.mode != breaker.Automatic {
		return false
	}
	switch r.shown() {
	case breaker.StateOpen:
		return !time.Now().Before(r.until)
	case breaker.StateHalfOpen:
		return !time.Now().Before(r.expires)
	default:
		return false
	}
}

func (r *reference) tryTrial(expires time.Time) bool {
	// An ejection shorter than a millisecond is left to gobreaker.
	if !r.due() || r.state == breaker.StateOpen && time.Since(r.start) <= time.Millisecond {
		return false
	}
	start, until := r.start, r.until
	r.enter(breaker.StateHalfOpen)
	r.start, r.until, r.expires = start, until, expires
	return true
}

func (r *reference) done(epoch int, v breaker.Verdict) {
	if r.state != breaker.StateHalfOpen || epoch != r.epoch {
		return
	}
	switch v {
	case breaker.Success:
		r.enter(breaker.StateClosed)
	case breaker.Ignored:
		start := r.start
		r.enter(breaker.StateOpen)
		r.start, r.until = start, time.Now()
	default:
		r.eject()
	}
}

// play interprets each pair of bytes as an operation and an argument, on a breaker and
// its reference, and compares them after each.
func play(t *testing.T, dryRun bool, program []byte) {
	ref := &reference{dryRun: dryRun, start: time.Now(), may: true, rnd: 0.5}
	told := breaker.StateClosed // of the changes that acted
	policy := modelPolicy
	policy.DryRun = dryRun
	b := breaker.NewInstance(policy, breaker.Hooks{
		MayEject: func() bool { return ref.may },
		Rand:     func() float64 { return ref.rnd },
		Changed: func(c breaker.Change) {
			if c.DryRun {
				return
			}
			if c.From != told {
				t.Fatalf("told of a change from %v, want from %v", c.From, told)
			}
			told = c.To
		},
	})
	type attempt struct {
		word  uint64
		trial breaker.Trial
		epoch int
	}
	var attempts, trials []attempt // in flight or over: any of them may report again
	for n := 0; n+1 < len(program); n += 2 {
		op, arg := program[n]%14, int(program[n+1])
		verdict := breaker.Verdict(arg % 4)
		switch op {
		case 0:
			time.Sleep(time.Duration(arg) * 10 * time.Millisecond)
		case 1:
			time.Sleep(time.Duration(arg) * 100 * time.Millisecond)
		case 2, 3, 4:
			b.Record(b.Word(), verdict)
			ref.record(ref.epoch, verdict)
		case 5:
			attempts = append(attempts, attempt{word: b.Word(), epoch: ref.epoch})
		case 6:
			if len(attempts) > 0 {
				a := attempts[arg/4%len(attempts)]
				b.Record(a.word, verdict)
				ref.record(a.epoch, verdict)
			}
		case 7, 8:
			expires := time.Now().Add(time.Duration(arg) * 10 * time.Millisecond)
			trial, ok := b.TryTrial(time.Now(), expires)
			if want := ref.tryTrial(expires); ok != want {
				t.Fatalf("step %d: trial given %v, want %v", n/2, ok, want)
			}
			if ok {
				trials = append(trials, attempt{trial: trial, epoch: ref.epoch})
			}
		case 9:
			if len(trials) > 0 { // the latest is the likely one
				a := trials[len(trials)-1-arg/4%min(len(trials), 3)]
				a.trial.Done(verdict)
				ref.done(a.epoch, verdict)
			}
		case 10:
			b.Expedite()
			if ref.state == breaker.StateOpen && time.Now().Before(ref.until) {
				ref.until = time.Now()
			}
		case 11:
			switch arg % 8 {
			case 0:
				b.Reset()
				if ref.mode == breaker.Automatic {
					ref.setMode(breaker.Automatic)
				}
			case 1, 2:
				b.ClearRun()
				ref.run = 0
				ref.overruled = ref.overruled && ref.condemned()
			default:
				ref.may = arg%2 == 1
			}
		case 12:
			ref.rnd = float64(arg) / 256
		case 13:
			if mode := breaker.Mode(arg % 16); mode <= breaker.Disabled || ref.mode != breaker.Automatic {
				mode %= 3
				b.SetMode(mode)
				ref.setMode(mode)
			}
		}
		compare(t, n/2, b, ref)
		if told != b.State() {
			t.Fatalf("step %d: the changes led to %v, want %v", n/2, told, b.State())
		}
	}
}

func compare(t *testing.T, step int, b *breaker.Instance, ref *reference) {
	t.Helper()
	got := b.Counts()
	requests, failures := ref.window()
	want := breaker.Counts{
		State: ref.state, Overruled: ref.overruled, Mode: ref.mode, DryRun: ref.dryRun, Requests: requests, Failures: failures, Run: ref.run,
		EjectedUntil: ref.until,
		Ejections:    got.Ejections, EjectedSince: got.EjectedSince, // for display only
	}
	if got != want {
		t.Fatalf("step %d:\n got %+v\nwant %+v", step, got, want)
	}
	if got, want := b.State(), ref.shown(); got != want || breaker.Closed(b.Word()) != (want == breaker.StateClosed) {
		t.Fatalf("step %d: it does as if %v, want %v", step, got, want)
	}
	if got, want := b.Due(time.Now()), ref.due(); got != want {
		t.Fatalf("step %d: due is %v, want %v", step, got, want)
	}
	if left := time.Until(got.EjectedUntil); left > modelPolicy.MaxEjection*12/10 {
		t.Fatalf("step %d: ejected for %v more, above MaxEjection with its jitter", step, left)
	}
}

func TestInstanceModel(t *testing.T) {
	for seed := range uint64(2000) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		program := make([]byte, 400)
		for i := range program {
			program[i] = byte(rnd.Uint32())
		}
		synctest.Test(t, func(t *testing.T) { play(t, seed%4 == 0, program) })
		if t.Failed() {
			t.Fatalf("with seed %d", seed)
		}
	}
}

func FuzzInstance(f *testing.F) {
	f.Add(false, []byte{2, 2, 2, 2, 2, 2, 1, 20, 7, 100, 9, 1})           // trip, wait, trial, close
	f.Add(false, []byte{2, 2, 2, 2, 2, 2, 1, 20, 7, 0, 7, 9, 9, 6, 9, 2}) // lose a trial, late result
	f.Add(false, []byte{11, 4, 2, 2, 2, 2, 2, 2, 2, 1, 2, 2, 11, 5})      // overruled
	f.Add(true, []byte{2, 2, 2, 2, 2, 2, 1, 20, 2, 2, 1, 40, 2, 1})       // a dry run's trials
	f.Add(false, []byte{13, 1, 1, 99, 7, 9, 13, 0, 2, 2, 2, 2, 2, 2})     // forced open, and back
	f.Fuzz(func(t *testing.T, dryRun bool, program []byte) {
		if len(program) > 2000 {
			t.Skip("longer than it is worth")
		}
		synctest.Test(t, func(t *testing.T) { play(t, dryRun, program) })
	})
}
