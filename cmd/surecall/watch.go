package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/surecall/surecall/cmd/surecall/internal/table"
	"github.com/surecall/surecall/status"
)

// The least and the most time between two looks, and the least between two frames: events
// may come in storms.
const (
	minInterval     = 100 * time.Millisecond
	maxInterval     = time.Hour
	defaultInterval = 500 * time.Millisecond
	frameInterval   = 50 * time.Millisecond
	firstFrame      = 300 * time.Millisecond // at the latest, if instances are still connecting
)

const watchUsage = `usage: surecall watch [flags] TARGET | PAGE

Shows the instances of a service, their states and what changes, until it is interrupted.

TARGET is what a client is given: consul:///orders, static:///host:port, dns:///host:port.
watch is then a client of its own: it connects to every instance, watches its health and
probes it, and makes no calls. What it holds is not what another client holds, which sees
the instances from elsewhere and by its calls. The calls of a client are protected by what
its code says, but here nothing is sent that needs protection, so without -tls, -ca or
-insecure it connects in plaintext.

PAGE is the address of the status page of a running process: http://127.0.0.1:6060/surecall/
or 127.0.0.1:6060/surecall/. That shows what its clients hold, and their calls.

On a terminal the table stays in place (NO_COLOR is heeded); elsewhere it is printed each
time that a state changes. The exit status is 0 when it is interrupted, 1 when there is
nothing to watch, 2 if the command is not used as it should be.

`

func runWatch(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, code, ok := parseView("watch", watchUsage, args, stdout, stderr)
	if !ok {
		return code
	}
	f, err := o.open()
	if err != nil {
		return fail(stderr, badUsage, err)
	}
	defer f.close()
	s := newScreen(o, stdout, stderr)
	defer s.close()
	if err := watch(ctx, f, s, o.interval); err != nil {
		s.close() // what follows is to be read
		return fail(stderr, 1, err)
	}
	return 0
}

// watch shows what f reads, until ctx ends.
func watch(ctx context.Context, f feed, s screen, interval time.Duration) error {
	var last view
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	v, err := settled(ctx, f, firstFrame)
	for {
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && last.all == nil:
			return err
		case err != nil:
			v = last
			v.lost = err
		default:
			last = v
			last.at = time.Now()
		}
		if err := s.show(v, time.Now()); err != nil {
			return err
		}
		if !rest(ctx, frameInterval) {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		case <-f.changed():
		case sig := <-s.signals():
			if err := s.handle(sig); err != nil {
				return err
			}
		}
		v, err = f.read(ctx)
	}
}

// rest returns after d, or false when ctx ends.
func rest(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// feed is where a view comes from.
type feed interface {
	// read returns what holds now.
	read(ctx context.Context) (view, error)
	// changed tells that it is time to read again; nil never does.
	changed() <-chan struct{}
	close()
}

// view is what is shown at one moment.
type view struct {
	all     []status.Status
	how     string    // they are had
	trouble string    // why no instance is eligible, if so
	settled bool      // not only just begun
	lost    error     // why it is that of an earlier moment, if so
	at      time.Time // that moment
}

// note is the line below the table.
func (v view) note(now time.Time) string {
	note := now.Format(time.TimeOnly) + "  "
	switch {
	case v.lost != nil:
		return note + fmt.Sprintf("as it was at %s: %v", v.at.Format(time.TimeOnly), v.lost)
	case v.trouble != "":
		return note + v.trouble
	}
	return note + v.how
}

func (v view) draw(o table.Options, now time.Time) string {
	o.Note = v.note(now)
	return table.Render(v.all, o)
}

// fail tells what is wrong, a line for each thing, and returns code.
func fail(stderr io.Writer, code int, err error) int {
	for what := range strings.Lines(err.Error()) {
		what = "surecall: " + strings.TrimPrefix(strings.TrimSuffix(what, "\n"), "surecall: ")
		fmt.Fprint(stderr, table.Text(what))
	}
	return code
}
