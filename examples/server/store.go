package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"sync"
)

const (
	inStock   = 1000   // orders "1", "2", … that each instance knows from the start
	maxPlaced = 10_000 // the newest placed ones that it remembers
)

var errUnknown = errors.New("not known here")

// store stands for the database that all instances of a service share. It is in memory,
// so each instance knows only what was placed with it.
type store struct {
	mu     sync.Mutex
	orders map[string]*entry
	placed [maxPlaced]string // a ring of IDs
	next   int               // its place for the next one
}

// order is one order as it is at a moment.
type order struct {
	item      string
	cancelled bool
}

func (o order) String() string {
	if o.cancelled {
		return o.item + " (cancelled)"
	}
	return o.item
}

type entry struct {
	order
	changed chan struct{} // closed at the next change
}

func newStore() *store {
	s := &store{orders: make(map[string]*entry)}
	for n := range inStock {
		id := strconv.Itoa(n + 1)
		s.orders[id] = &entry{order{item: fmt.Sprintf("book %s", id)}, make(chan struct{})}
	}
	return s
}

// get returns the order, and what is closed when it changes.
func (s *store) get(id string) (order, <-chan struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.orders[id]
	if !ok {
		return order{}, nil, errUnknown
	}
	return e.order, e.changed, nil
}

func (s *store) cancel(id string) (order, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.orders[id]
	if !ok {
		return order{}, errUnknown
	}
	if !e.cancelled {
		e.cancelled = true
		close(e.changed)
		e.changed = make(chan struct{})
	}
	return e.order, nil
}

// place returns the ID of the new order, in whose place the oldest one is forgotten.
func (s *store) place(item string) string {
	id := rand.Text()
	s.mu.Lock()
	defer s.mu.Unlock()
	if oldest, ok := s.orders[s.placed[s.next]]; ok {
		delete(s.orders, s.placed[s.next])
		close(oldest.changed)
	}
	s.orders[id] = &entry{order{item: item}, make(chan struct{})}
	s.placed[s.next] = id
	s.next = (s.next + 1) % maxPlaced
	return id
}
