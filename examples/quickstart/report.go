package main

import (
	"encoding/json"
	"io"
	"time"
)

// grace is how long before an event a call may have been due to be counted as its: it
// was in flight then.
const grace = 10 * time.Millisecond

// report is what the show has found.
type report struct {
	scenes      []*scene
	sure, plain *score
}

// score is how one contender did.
type score struct {
	total    tally
	scenes   []sceneScore
	place    tally
	slowest  time.Duration
	retries  int
	firstErr error
}

// tally counts calls.
type tally struct{ calls, failed, slow int }

// sceneScore is what one event did to one contender.
type sceneScore struct {
	tally                   // of the calls from it to the next
	effective time.Duration // until it took effect; less than 0: it did not
	toGone    int           // attempts sent to an instance that was gone
}

func newReport(scenes []*scene, sure, plain *contender, rate int) *report {
	quiet := 100 * time.Second / time.Duration(rate) // an even share would be 20 attempts
	r := &report{scenes: scenes, sure: newScore(scenes, sure, quiet), plain: newScore(scenes, plain, quiet)}
	for i, e := range scenes {
		if e.kind == changed {
			r.sure.scenes[i].effective = e.known
			r.plain.scenes[i].effective = -1 // plain gRPC knows no weights
		}
	}
	return r
}

func newScore(scenes []*scene, c *contender, quiet time.Duration) *score {
	s := &score{scenes: make([]sceneScore, len(scenes)), retries: int(c.retries.Load())}
	for _, call := range c.load.since(0) {
		if call.method == place {
			s.place.add(call)
			continue
		}
		s.total.add(call)
		s.slowest = max(s.slowest, call.latency())
		if s.firstErr == nil {
			s.firstErr = call.err
		}
		for i := len(scenes) - 1; i >= 0; i-- {
			if call.due+grace >= scenes[i].at {
				s.scenes[i].add(call)
				break
			}
		}
	}
	for i, e := range scenes {
		s.scenes[i].effective, s.scenes[i].toGone = e.effect(c.load.wire, quiet)
	}
	return s
}

func (t *tally) add(c call) {
	t.calls++
	if c.err != nil {
		t.failed++
	}
	if c.latency() > slow {
		t.slow++
	}
}

// forever is the end of an event whose instance does not come back.
const forever = time.Duration(1<<63 - 1)

// effect tells from the attempts sent when the event took effect, and how many came too
// late. It has taken effect when no attempt follows for quiet; one that comes after is a
// trial of whether the instance is back.
func (e *scene) effect(w *wire, quiet time.Duration) (after time.Duration, toGone int) {
	until := e.until
	if until == 0 {
		until = forever
	}
	sent := w.to(e.address, e.at, until)
	switch {
	case e.kind == arrived && len(sent) > 0:
		return sent[0] - e.at, 0
	case e.kind == arrived:
		return -1, 0
	case e.kind == changed || len(sent) == 0:
		return 0, 0
	}
	last := e.at
	for _, at := range sent {
		if at-last > quiet {
			break
		}
		last = at
	}
	if e.until != 0 && e.until-last < quiet {
		return -1, len(sent) // it went on until the instance was back
	}
	return last - e.at, len(sent)
}

// json writes the report as one object.
func (r *report) json(out io.Writer) error {
	type jsonEvent struct {
		What        string  `json:"what"`
		AtMS        float64 `json:"at_ms"`
		EffectiveMS float64 `json:"effective_ms"` // -1: it took no effect
		CallsToGone int     `json:"calls_to_gone_instance"`
	}
	o := struct {
		Calls          int         `json:"calls"`
		Failed         int         `json:"failed"`
		Slow           int         `json:"slow"`
		SlowestMS      float64     `json:"slowest_ms"`
		Retries        int         `json:"retries"`
		BaselineFailed int         `json:"baseline_failed"`
		BaselineSlow   int         `json:"baseline_slow"`
		Events         []jsonEvent `json:"events"`
	}{
		Calls: r.sure.total.calls, Failed: r.sure.total.failed, Slow: r.sure.total.slow,
		SlowestMS: ms(r.sure.slowest), Retries: r.sure.retries,
		BaselineFailed: r.plain.total.failed, BaselineSlow: r.plain.total.slow,
	}
	for i, e := range r.scenes {
		s := r.sure.scenes[i]
		o.Events = append(o.Events, jsonEvent{e.what, ms(e.at), ms(s.effective), s.toGone})
	}
	return json.NewEncoder(out).Encode(o)
}

// ms is d in milliseconds, to a tenth; -1 if there is none.
func ms(d time.Duration) float64 {
	if d < 0 {
		return -1
	}
	return float64(d.Round(100*time.Microsecond)) / float64(time.Millisecond)
}
