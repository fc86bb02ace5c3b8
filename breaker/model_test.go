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

func (r *reference) record(epoch int, v breaker.Verdict) {
	if v == breaker.Ignored || r.state != breaker.StateClosed || epoch != r.epoch {
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
		state: s, epoch: r.epoch + 1, doublings: r.doublings,
		start: time.Now(), may: r.may, rnd: r.rnd,
	}
}

func (r *reference) due() bool {
	switch r.state {
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
func play(t *testing.T, program []byte) {
	ref := &reference{start: time.Now(), may: true, rnd: 0.5}
	b := breaker.NewInstance(modelPolicy, breaker.Hooks{
		MayEject: func() bool { return ref.may },
		Rand:     func() float64 { return ref.rnd },
	})
	type attempt struct {
		word  uint64
		trial breaker.Trial
		epoch int
	}
	var attempts, trials []attempt // in flight or over: any of them may report again
	for n := 0; n+1 < len(program); n += 2 {
		op, arg := program[n]%13, int(program[n+1])
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
				ref.doublings = 0
				ref.enter(breaker.StateClosed)
			case 1, 2:
				b.ClearRun()
				ref.run = 0
				ref.overruled = ref.overruled && ref.condemned()
			default:
				ref.may = arg%2 == 1
			}
		case 12:
			ref.rnd = float64(arg) / 256
		}
		compare(t, n/2, b, ref)
	}
}

func compare(t *testing.T, step int, b *breaker.Instance, ref *reference) {
	t.Helper()
	got := b.Counts()
	requests, failures := ref.window()
	want := breaker.Counts{
		State: ref.state, Overruled: ref.overruled, Requests: requests, Failures: failures, Run: ref.run,
		EjectedUntil: ref.until,
		Ejections:    got.Ejections, EjectedSince: got.EjectedSince, // for display only
	}
	if got != want {
		t.Fatalf("step %d:\n got %+v\nwant %+v", step, got, want)
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
		synctest.Test(t, func(t *testing.T) { play(t, program) })
		if t.Failed() {
			t.Fatalf("with seed %d", seed)
		}
	}
}

func FuzzInstance(f *testing.F) {
	f.Add([]byte{2, 2, 2, 2, 2, 2, 1, 20, 7, 100, 9, 1})           // trip, wait, trial, close
	f.Add([]byte{2, 2, 2, 2, 2, 2, 1, 20, 7, 0, 7, 9, 9, 6, 9, 2}) // lose a trial, late result
	f.Add([]byte{11, 4, 2, 2, 2, 2, 2, 2, 2, 1, 2, 2, 11, 5})      // overruled
	f.Fuzz(func(t *testing.T, program []byte) {
		if len(program) > 2000 {
			t.Skip("longer than it is worth")
		}
		synctest.Test(t, func(t *testing.T) { play(t, program) })
	})
}
