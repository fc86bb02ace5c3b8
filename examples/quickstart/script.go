package main

import (
	"context"
	"fmt"
	"time"
)

// script is what happens to the servers, each at a share of the show's length.
var script = []step{
	{0.11, reweigh},
	{0.21, kill},
	{0.31, stop},
	{0.56, resume},
	{0.66, leave},
	{0.81, join},
}

type step struct {
	at float64
	do func(context.Context, *stage) error
}

// stage is what a step acts on.
type stage struct {
	fleet    *fleet
	sure     *contender
	screen   *screen
	start    time.Time
	duration time.Duration
	events   []*scene
}

// scene is one event and what it was about.
type scene struct {
	what    string // one word
	text    string // as it is shown
	at      time.Duration
	until   time.Duration // the instance is back; 0: it is not
	kind    kind
	address string        // of the instance
	known   time.Duration // until the client went by it; only of a changed weight
}

// kind says when an event has taken effect.
type kind int

const (
	gone    kind = iota // no attempt is sent to the instance any more
	arrived             // the first attempt is sent to it
	changed             // the client says so
)

// play does each step in its time, and returns when the show is over.
func play(ctx context.Context, steps []step, s *stage) ([]*scene, error) {
	for _, step := range steps {
		if err := sleepUntil(ctx, s.start.Add(time.Duration(step.at*float64(s.duration)))); err != nil {
			return nil, err
		}
		if err := step.do(ctx, s); err != nil {
			return nil, err
		}
	}
	return s.events, sleepUntil(ctx, s.start.Add(s.duration))
}

// begin notes an event. It is called when the event is about to happen.
func (s *stage) begin(what, text string, k kind, p *process, at time.Time) *scene {
	e := &scene{what: what, text: text, kind: k, address: p.address, at: at.Sub(s.start)}
	s.events = append(s.events, e)
	s.screen.tell(e.at, text)
	return e
}

func reweigh(ctx context.Context, s *stage) error {
	p := s.fleet.processes[0]
	e := s.begin("weight", p.id+" gets weight 2", changed, p, time.Now())
	if err := s.fleet.weigh(ctx, p, 2); err != nil {
		return err
	}
	for s.sure.weight(p.id) != 2 {
		if err := sleepUntil(ctx, time.Now().Add(time.Millisecond)); err != nil {
			return err
		}
		if time.Since(s.start) > s.duration {
			e.known = -1
			return nil
		}
	}
	e.known = time.Since(s.start) - e.at
	return nil
}

func kill(_ context.Context, s *stage) error {
	p := s.fleet.processes[1]
	s.begin("kill", "kill -9 "+p.id, gone, p, time.Now())
	return p.kill()
}

func stop(ctx context.Context, s *stage) error {
	p, how := s.fleet.processes[2], "SIGSTOP "
	if !canStop {
		how = "hang "
	}
	e := s.begin("stop", how+p.id, gone, p, time.Now())
	e.until = s.duration
	return p.stop(ctx)
}

func resume(ctx context.Context, s *stage) error {
	p, stopped := s.fleet.processes[2], s.events[len(s.events)-1]
	stopped.until = time.Since(s.start)
	stopped.text += fmt.Sprintf(", for %v", (stopped.until - stopped.at).Round(100*time.Millisecond))
	s.screen.tell(stopped.until, p.id+" goes on")
	return p.resume(ctx)
}

func leave(ctx context.Context, s *stage) error {
	p := s.fleet.processes[3]
	s.begin("leave", p.id+" leaves", gone, p, time.Now())
	return s.fleet.leave(ctx, p)
}

func join(ctx context.Context, s *stage) error {
	serving, err := s.fleet.start(ctx)
	if err != nil {
		return err
	}
	p := s.fleet.processes[len(s.fleet.processes)-1]
	s.begin("join", p.id+" joins", arrived, p, serving)
	return nil
}

// sleepUntil returns ctx's error if it ends first.
func sleepUntil(ctx context.Context, t time.Time) error {
	timer := time.NewTimer(time.Until(t))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
