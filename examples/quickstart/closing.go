package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/examples/orders"
)

// table shows what each event cost either client.
func (s *screen) table(r *report) {
	s.printf("\n%s\n", s.paint(bold, "What each event cost"))
	s.printf("%s\n", s.paint(faint, fmt.Sprintf("%-33s%15s%16s%18s%18s\n%-33s%15s%16s%18s%18s",
		"", "failed", "slow", "in effect after", "still sent to it",
		"", "surecall  plain", "surecall  plain", "surecall   plain", "surecall   plain")))
	row := func(head string, sure, plain sceneScore, effects bool) {
		line := fmt.Sprintf("%-33s%s%s", head,
			s.pair(8, 7, sure.failed, plain.failed), s.pair(9, 7, sure.slow, plain.slow))
		if effects {
			line += fmt.Sprintf("%10s%8s", effect(sure.effective), effect(plain.effective))
			line += fmt.Sprintf("%10d%8d", sure.toGone, plain.toGone)
		}
		s.printf("%s\n", line)
	}
	for i, e := range r.scenes {
		row(fmt.Sprintf("%5.1fs  %s", e.at.Seconds(), e.text), r.sure.scenes[i], r.plain.scenes[i], true)
	}
	row(fmt.Sprintf("all     %d calls each", r.sure.total.calls), sceneScore{tally: r.sure.total}, sceneScore{tally: r.plain.total}, false)
	s.printf("\nslow is above %v, each wait counted from when the call was due. surecall's slowest took %s;\n"+
		"it made %d retries. Plain round_robin knows no weights.\n", slow, short(r.sure.slowest), r.sure.retries)
	s.printf("\nPlace is not idempotent: a call that may have run is never repeated, and ends with its\n"+
		"instance's answer or at its deadline. Of %d calls %d failed with surecall, %d with plain gRPC.\n",
		r.sure.place.calls, r.sure.place.failed, r.plain.place.failed)
}

// effect is the time until an event took effect.
func effect(d time.Duration) string {
	if ms(d) == 0 {
		return "at once"
	}
	return short(d)
}

// pair is two counts: surecall's, which should be 0, and plain gRPC's.
func (s *screen) pair(wide, wider, sure, plain int) string {
	left, right := fmt.Sprintf("%*d", wide, sure), fmt.Sprintf("%*d", wider, plain)
	color := green
	if sure > 0 {
		color = red
	}
	left = s.paint(color, left)
	if plain > 0 {
		right = s.paint(red, right)
	}
	return left + right
}

// closing shows what callers get when nobody is left, and how to go on.
func (s *screen) closing(r *surecall.Rejection, took time.Duration) {
	if r != nil {
		s.printf("\nThen all servers were killed. This is what a caller gets, within %v:\n", took.Round(time.Microsecond))
		s.printf("%s\n", s.paint(yellow, fold(r.Error(), 96)))
	}
	s.printf("\n%s\n", s.paint(bold, "To use it"))
	s.printf("  client, err := surecall.NewClient(\"consul:///orders\", surecall.WithInsecure())\n")
	s.printf("  stub := orders.NewOrdersClient(client) // your generated stub, as with grpc.NewClient\n")
	s.printf("\n%s\n", s.paint(bold, "Next"))
	s.printf("  go run ./examples/quickstart -consul 127.0.0.1:8500   the same with a real Consul agent\n")
	s.printf("  make test                                             every promise, with Consul, as tests\n")
	s.printf("  go doc github.com/surecall/surecall                   the model, the defaults, the targets\n")
}

// fold breaks text into indented lines of at most width.
func fold(text string, width int) string {
	var b strings.Builder
	column := width
	for word := range strings.FieldsSeq(text) {
		if column+1+len(word) > width {
			b.WriteString("\n ")
			column = 1
		}
		b.WriteString(" " + word)
		column += 1 + len(word)
	}
	return b.String()[1:]
}

// lastWord kills all servers and returns how a call is refused then, and how long that
// takes. The first refusal is not measured: it waits for the news.
func lastWord(ctx context.Context, f *fleet, sure *contender) (r *surecall.Rejection, took time.Duration) {
	f.killAll()
	stub := orders.NewOrdersClient(sure.client)
	for range 50 {
		began := time.Now()
		call, cancel := context.WithTimeout(ctx, deadline)
		_, err := stub.Get(call, &orders.GetRequest{})
		cancel()
		took = time.Since(began)
		if again := r != nil; errors.As(err, &r) && again || ctx.Err() != nil {
			break
		}
		_ = sleepUntil(ctx, began.Add(20*time.Millisecond))
	}
	return r, took
}
