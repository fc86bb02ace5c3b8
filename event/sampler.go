package event

import (
	"log/slog"
	"sync"
	"time"
)

// stream is what lines are counted by.
type stream struct {
	kind    string
	service string
	level   slog.Level
}

// storm is a stream of which lines were left out.
type storm struct {
	stream
	leftOut int
}

// sampler lets the first lines of a stream through in each window and counts the rest.
// The zero value is ready.
type sampler struct {
	mu      sync.Mutex
	windows map[stream]window // those begun within the last two windows' time
	sweep   time.Time         // when to look again through all, at most once in a window
}

// window is what happened in a stream since it began.
type window struct {
	began time.Time
	lines int
}

// admit counts one line of s. It reports whether to write it, and the storms that are
// over by now.
func (p *sampler) admit(now time.Time, s stream) (write bool, over []storm) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.windows == nil {
		p.windows = make(map[stream]window)
	}
	if w, ok := p.windows[s]; ok && w.over(now) {
		over = p.end(s, w, over)
	}
	if !now.Before(p.sweep) {
		p.sweep = now.Add(slogWindow)
		for s, w := range p.windows {
			if w.over(now) {
				over = p.end(s, w, over)
			}
		}
	}
	w, ok := p.windows[s]
	if !ok {
		w.began = now
	}
	w.lines++
	p.windows[s] = w
	return w.lines <= slogLines, over
}

// end forgets a window that is over, and appends it if it was a storm.
func (p *sampler) end(s stream, w window, over []storm) []storm {
	delete(p.windows, s)
	if w.lines > slogLines {
		over = append(over, storm{s, w.lines - slogLines})
	}
	return over
}

func (w window) over(now time.Time) bool { return now.Sub(w.began) >= slogWindow }
