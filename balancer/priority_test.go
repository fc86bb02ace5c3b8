package balancer

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/connectivity"

	"github.com/surecall/surecall/discovery"
)

// TestLevels goes through what the state machine has to decide, step by step.
func TestLevels(t *testing.T) {
	for _, test := range []struct {
		name  string
		steps []levelStep
	}{
		{"all is well", []levelStep{{0, "5/5 0/5", 0, 0}, {time.Hour, "5/5 0/5", 0, 0}}},
		{"half is enough", []levelStep{{0, "2/4 0/5", 0, 0}}},
		{"fewer are dialled beside", []levelStep{{0, "5/5 0/5", 0, 0}, {time.Second, "2/5 0/5", 1, 0}, {time.Second, "2/5 5/5", 1, 0}}},
		{"none: calls go over, at once", []levelStep{{0, "5/5 0/5", 0, 0}, {time.Second, "0/5 0/5", 1, 0}, {time.Second, "0/5 1/5", 1, 1}}},
		{"an empty first choice", []levelStep{{0, "0/0 0/5", 1, 0}, {time.Second, "0/0 5/5", 1, 1}}},
		{"the third only if the second fails too", []levelStep{
			{0, "0/5 0/5 0/5", 2, 0}, {time.Second, "0/5 0/5 1/5", 2, 2}, {time.Second, "0/5 1/5 1/5", 2, 2}, {10 * time.Second, "0/5 1/5 1/5", 2, 1},
		}},
		{"back after ten seconds without a break", []levelStep{
			{0, "0/5 5/5", 1, 1}, {time.Second, "1/5 5/5", 1, 1}, {9 * time.Second, "1/5 5/5", 1, 1},
			{500 * time.Millisecond, "0/5 5/5", 1, 1}, {time.Second, "5/5 5/5", 1, 1}, {9 * time.Second, "5/5 5/5", 1, 1}, {time.Second, "5/5 5/5", 1, 0},
		}},
		{"back at once if the second fails", []levelStep{{0, "0/5 5/5", 1, 1}, {time.Second, "1/5 5/5", 1, 1}, {time.Second, "1/5 0/5", 1, 0}}},
		{"nobody anywhere: stays", []levelStep{{0, "0/5 5/5", 1, 1}, {time.Second, "0/5 0/5", 1, 1}}},
		{"those beside stand down after five minutes", []levelStep{
			{0, "2/5 0/5", 1, 0}, {time.Second, "5/5 5/5", 1, 0}, {5*time.Minute - time.Second, "5/5 5/5", 1, 0}, {time.Second, "5/5 5/5", 0, 0},
		}},
		{"five minutes begin anew", []levelStep{
			{0, "2/5 0/5", 1, 0}, {time.Second, "5/5 5/5", 1, 0}, {4 * time.Minute, "2/5 5/5", 1, 0}, {time.Second, "5/5 5/5", 1, 0}, {4 * time.Minute, "5/5 5/5", 1, 0},
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var l levels
			now := int64(time.Second)
			for n, s := range test.steps {
				now += int64(s.after)
				l.judge(parseTallies(t, s.tallies), now)
				if l.dialled != s.dialled || l.active != s.active {
					t.Fatalf("step %d (%s): dials up to %d, calls go to %d: want %d and %d", n, s.tallies, l.dialled, l.active, s.dialled, s.active)
				}
			}
		})
	}
}

type levelStep struct {
	after   time.Duration
	tallies string // eligible/members of each priority
	dialled int
	active  int
}

func parseTallies(t *testing.T, text string) []tally {
	t.Helper()
	var all []tally
	for text != "" {
		var one tally
		rest := ""
		if n, _ := fmt.Sscanf(text, "%d/%d %s", &one.eligible, &one.members, &rest); n < 2 {
			t.Fatalf("tallies %q", text)
		}
		all = append(all, one)
		for len(text) > 0 && text[0] != ' ' {
			text = text[1:]
		}
		if text != "" {
			text = text[1:]
		}
	}
	return all
}

// TestJudgeSaysWhenItMustBeAsked: whatever time alone changes comes about if judge is
// asked when it says.
func TestJudgeSaysWhenItMustBeAsked(t *testing.T) {
	var l levels
	now := int64(time.Second)
	for n := 0; n < 10 && (l.active != 0 || l.dialled != 0 || n == 0); n++ {
		if n == 0 {
			l.judge(parseTallies(t, "0/5 5/5"), now)
		}
		again := l.judge(parseTallies(t, "5/5 5/5"), now)
		if again <= 0 && (l.active != 0 || l.dialled != 0) {
			t.Fatalf("calls go to %d, dials up to %d, and it need not be asked again", l.active, l.dialled)
		}
		now += int64(again)
	}
	if l.active != 0 || l.dialled != 0 {
		t.Errorf("calls go to %d, dials up to %d: want 0", l.active, l.dialled)
	}
	if now > int64(6*time.Minute) {
		t.Errorf("it took until %v", time.Duration(now))
	}
}

// TestStandby: instances of a lower priority are not connected while those of the first
// suffice, get no calls while one of those is eligible, and all of them when none is.
func TestStandby(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(Config{})
		defer r.lb.Close()
		all := instances(6, nil)
		for n := 3; n < 6; n++ {
			all[n].Priority = 1
		}
		r.set(all)
		settle := func() {
			for range 3 {
				time.Sleep(20 * time.Millisecond)
				synctest.Wait()
				r.cc.drain()
			}
		}
		settle()
		want := func(what string, dials int, priority int) {
			t.Helper()
			r.cc.mu.Lock()
			got := r.cc.dials
			r.cc.mu.Unlock()
			if got != dials {
				t.Errorf("%s: %d dials: want %d", what, got, dials)
			}
			for range 50 {
				a := &Attempt{}
				i, err := r.pick(a, r.fleet.now())
				if err != nil {
					t.Fatalf("%s: %v", what, err)
				}
				if i.priority() != priority {
					t.Fatalf("%s: %s was picked: want one of priority %d", what, i.id, priority)
				}
				a.release()
			}
		}
		want("all well", 3, 0)
		r.fail(all[0])
		settle()
		want("two of three", 4, 0) // one dial of the lost one
		r.fail(all[1])
		settle()
		want("one of three", 8, 0) // and the others are made ready
		r.fail(all[2])
		settle()
		want("none", 9, 1)
		for _, i := range all[:3] {
			r.recover(i)
		}
		settle()
		want("back for a moment", 12, 1)
		time.Sleep(returnAfter)
		settle()
		want("back for ten seconds", 12, 0)
		time.Sleep(standDown)
		settle()
		want("back for five minutes", 12, 0)
		for _, i := range all[3:] {
			if r.member(t, i.ID).conn.SubConn() != nil {
				t.Errorf("%s is connected still", i.ID)
			}
		}
	})
}

// fail ends an instance's connection, and refuses the next.
func (r *rig) fail(i discovery.Instance) {
	r.cc.mu.Lock()
	r.cc.refuse[i.Address] = true
	r.cc.mu.Unlock()
	r.cc.lose(i.Address)
}

// recover lets the next dial through, which comes at once.
func (r *rig) recover(i discovery.Instance) {
	r.cc.mu.Lock()
	r.cc.refuse[i.Address] = false
	r.cc.later(r.cc.conns[i.Address], connectivity.Idle, nil)
	r.cc.mu.Unlock()
	r.cc.drain()
}
