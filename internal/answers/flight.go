package answers

import "time"

// Wish is what a call must have in common with another to wait for what that one brings.
// Else a critical call would queue with a sheddable one, and one that wants to be rejected
// would wait with one that does not.
type Wish struct {
	Key       string
	Priority  int
	Waits     bool // for ready
	Elsewhere bool // the alternate is asked
}

// Flight is one call that asks for what others want, too.
type Flight[R any] struct {
	// Brought is for whoever waits. It is written before Land, and read after Done; its
	// zero value says nothing.
	Brought R

	done chan struct{}
}

// Done is closed when the flight has landed.
func (f *Flight[R]) Done() <-chan struct{} { return f.done }

// Enter returns the answer to w if it is not older than fresh. Else it returns the flight
// that brings one: led tells that the caller has to bring it, and must Land then.
func (s *Store[R]) Enter(w Wish, fresh time.Duration, now time.Time) (a *Answer, f *Flight[R], led bool) {
	p := s.part(w.Key)
	p.mu.Lock()
	defer p.mu.Unlock()
	if a := p.get(w.Key, fresh, now); a != nil {
		return a, nil, false
	}
	if f := p.flights[w]; f != nil {
		return nil, f, false
	}
	if p.flights == nil {
		p.flights = map[Wish]*Flight[R]{}
	}
	f = &Flight[R]{done: make(chan struct{})}
	p.flights[w] = f
	return nil, f, true
}

// Land lets those who wait for f go on.
func (s *Store[R]) Land(w Wish, f *Flight[R]) {
	p := s.part(w.Key)
	p.mu.Lock()
	delete(p.flights, w)
	p.mu.Unlock()
	close(f.done)
}
