package surecall

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/surecall/surecall/balancer"
)

// An alarm that is off while it rings is not set again. It would ring for ever, and keep
// the call and its messages: whenever no budget was left, and the attempt ended at that
// moment.
func TestAlarmThatIsOffDoesNotGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p alarms
		a := &unaryAttempt{call: &unaryCall{tries: tries{core: &core{fleet: balancer.NewFleet(balancer.Config{})}}}}
		a.attempt.Patience = time.Second
		a.overdue.Store(late)
		al := p.set(a, time.Second)
		time.Sleep(1500 * time.Millisecond)
		if !al.timer.Stop() {
			t.Fatal("an alarm that is on: want it to ring again")
		}
		al.timer.Reset(0)
		al.over.Store(true) // off finds it ringing: it cannot be stopped
		time.Sleep(10 * time.Second)
		if al.timer.Stop() {
			t.Error("it rings on")
		}
	})
}
