package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/event"
)

// showEverySecond prints a line a second until ctx ends.
func showEverySecond(ctx context.Context, client *surecall.Client, l *load, w *watch) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		t := l.take()
		on, _, _ := w.state()
		fmt.Printf("%s %5d calls %5d failed  slowest %-8s %s; stream on %s\n",
			time.Now().Format(time.TimeOnly), t.calls, t.failed, round(t.slowest),
			fleet(client.Instances()), cmp.Or(on, "none"))
		if t.lastErr != nil {
			fmt.Printf("         %v\n", t.lastErr)
			fmt.Printf("         %v\n", client.Source()) // does it know better than we do?
		}
	}
}

// fleet counts the instances by state: "3 instances: 2 eligible, 1 draining".
func fleet(instances []surecall.InstanceStatus) string {
	count := map[event.State]int{}
	for _, i := range instances {
		count[i.State]++
	}
	var states []string
	for _, s := range slices.Sorted(maps.Keys(count)) {
		states = append(states, fmt.Sprint(count[s], " ", s))
	}
	return fmt.Sprintf("%d instances: %s", len(instances), cmp.Or(strings.Join(states, ", "), "none known"))
}

// summary prints and returns what came of all calls.
func summary(l *load, w *watch) tally {
	t := l.all()
	_, moved, broken := w.state()
	fmt.Printf("%d calls in %s, %d failed, slowest %s; the stream moved %d times and broke %d times\n",
		t.calls, time.Since(l.start).Round(100*time.Millisecond), t.failed, round(t.slowest), moved, broken)
	return t
}

func round(d time.Duration) time.Duration { return d.Round(100 * time.Microsecond) }
