package status

import (
	"html/template"
	"sync"
	"time"
)

const (
	readersMost = 32                     // of the event stream
	glance      = 200 * time.Millisecond // between two looks for what changed state
	pace        = time.Second            // between two views that differ in numbers only,
	paced       = 500                    // of so many elements; of more, longer in proportion
)

// live makes views while there are readers, each view for all of them.
type live struct {
	read      func() []Status
	templates *template.Template

	mu      sync.Mutex
	readers int
	run     *run // nil: no readers
}

// run is the time from the first reader to the last.
type run struct {
	stop chan struct{} // closed by the last reader
	done chan struct{} // closed when nothing runs any more

	mu      sync.Mutex
	view    *view         // the newest; nil: none yet
	changed chan struct{} // closed with the next one
}

// join adds a reader, unless there are too many: then it returns nil.
func (l *live) join() *run {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.readers == readersMost {
		return nil
	}
	if l.readers++; l.run == nil {
		l.run = &run{stop: make(chan struct{}), done: make(chan struct{}), changed: make(chan struct{})}
		go l.watch(l.run)
	}
	return l.run
}

// leave takes a reader of r away. With the last one it returns when nothing runs any more.
func (l *live) leave(r *run) {
	l.mu.Lock()
	l.readers--
	last := l.readers == 0
	if last {
		l.run = nil
	}
	l.mu.Unlock()
	if last {
		close(r.stop)
		<-r.done
	}
}

// watch makes views until r ends.
func (l *live) watch(r *run) {
	defer close(r.done)
	timer := time.NewTimer(0)
	defer timer.Stop()
	renderer := newRenderer(l.templates)
	var state uint64 // of the last view
	var next time.Time
	for {
		select {
		case <-r.stop:
			return
		case <-timer.C:
		}
		began := time.Now()
		all := l.read()
		if now := essence(all); now != state || !began.Before(next) {
			state = now
			v := renderer.page(all, began, "")
			r.publish(v)
			// However many instances there are, numbers take a tenth of a core at most,
			next = began.Add(max(pace, pace*time.Duration(len(v.byID))/paced, 10*time.Since(began)))
		}
		// and instances that come and go all the time a quarter, unless the machine is so
		// busy that nothing would be told at all.
		timer.Reset(min(pace, max(glance, 4*time.Since(began))))
	}
}

func (r *run) publish(v *view) {
	r.mu.Lock()
	changed := r.changed
	r.view, r.changed = v, make(chan struct{})
	r.mu.Unlock()
	close(changed)
}

// newest returns the newest view, nil if there is none yet, and what is closed with the
// next one.
func (r *run) newest() (*view, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.view, r.changed
}
