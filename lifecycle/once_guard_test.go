package lifecycle

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// hooked is a caller's context that counts who waits for its end.
type hooked struct {
	context.Context
	done  chan struct{}
	hooks int
}

func (h *hooked) Done() <-chan struct{} { return h.done }

func (h *hooked) AfterFunc(func()) (stop func() bool) {
	h.hooks++
	return func() bool { h.hooks--; return true }
}

// Nothing waits for the end of a caller whose call is over: each call would leave a
// goroutine to start, or what it holds if that end never comes.
func TestNothingWaitsForACallerThatWasAnswered(t *testing.T) {
	l := New(Config{})
	caller := &hooked{Context: context.Background(), done: make(chan struct{})}
	own, end := l.apartFromCaller(caller)
	if caller.hooks != 1 {
		t.Errorf("%d wait for the caller, want 1", caller.hooks)
	}
	end()
	if caller.hooks != 0 || own.Err() == nil {
		t.Errorf("%d wait for the caller, want none; the handler's context: %v", caller.hooks, own.Err())
	}
}

// A handler whose caller has gone goes on until the server cuts calls off, or its own
// deadline; of one that ends before nothing is left behind.
func TestApartFromCaller(t *testing.T) {
	for name, test := range map[string]struct {
		deadline time.Duration
		end      func(l *Life, end func())
		after    time.Duration
	}{
		"cut off":      {0, func(l *Life, _ func()) { time.AfterFunc(time.Minute, l.cutOff) }, time.Minute},
		"its deadline": {time.Second, func(*Life, func()) {}, time.Second},
		"its own end":  {time.Hour, func(_ *Life, end func()) { time.AfterFunc(time.Minute, end) }, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := New(Config{})
				began := time.Now()
				caller, leave := context.WithCancel(t.Context())
				if test.deadline > 0 {
					var cancel context.CancelFunc
					caller, cancel = context.WithTimeout(caller, test.deadline)
					defer cancel()
				}
				own, end := l.apartFromCaller(caller)
				leave()
				synctest.Wait()
				if own.Err() != nil {
					t.Errorf("ended with its caller: %v", own.Err())
				}
				test.end(l, end)
				<-own.Done()
				if took := time.Since(began); took != test.after {
					t.Errorf("ended after %v, want %v", took, test.after)
				}
				end()
			})
		})
	}
}
