package surecalltest

import (
	"math/rand/v2"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Hang stops the instance as SIGSTOP does a process: it takes connections and whatever is
// sent, reads nothing and answers nothing, until Resume or its end. For calls that hang
// while their server lives, see Delay.
func (i *Instance) Hang() { i.process.close() }

// BlackHole makes the network to the instance swallow all packets, until Resume:
// connections stay open and nothing arrives over them in either direction, not even their
// end, and new ones are dialled in vain.
func (i *Instance) BlackHole() { i.network.close() }

// Resume ends Hang and BlackHole: what waited arrives, is read, and is answered.
func (i *Instance) Resume() {
	i.network.open()
	i.process.open()
}

// Delay makes every call take d more. 0 ends that, as it ends DelaySome and DelayFunc: the
// last of the three counts.
func (i *Instance) Delay(d time.Duration) { i.DelaySome(1, d) }

// DelaySome makes a share of the calls, from 0 to 1, take d more. Which ones is random, and
// the same in every run of the test: it depends on the instance and on the number of the
// call at it. For a pattern, such as each tenth, see DelayFunc.
func (i *Instance) DelaySome(share float64, d time.Duration) {
	switch {
	case !isShare(share):
		i.cluster.errorf("DelaySome share %v: want 0 to 1", share)
	case d < 0:
		i.cluster.errorf("delay %v: want 0 or more", d)
	case share == 0 || d == 0:
		i.DelayFunc(nil)
	default:
		i.DelayFunc(func(_ string, call int64) time.Duration {
			if i.chance(delays, call) < share {
				return d
			}
			return 0
		})
	}
}

// DelayFunc asks delay of every call, with its full method and its number at this instance
// from 1, how much longer it takes. It is called from the goroutines of the calls. nil ends
// it.
func (i *Instance) DelayFunc(delay func(method string, call int64) time.Duration) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.delay = delay
}

// Fail makes every call end with code, before its handler. codes.OK ends that, as it ends
// FailSome and FailFunc: the last of the three counts.
func (i *Instance) Fail(code codes.Code) {
	if code == codes.OK {
		i.FailFunc(nil)
		return
	}
	i.FailSome(1, code)
}

// FailSome makes a share of the calls, from 0 to 1, end with code, before their handler.
// Which ones is as random as in DelaySome. A share of 0 ends it.
func (i *Instance) FailSome(share float64, code codes.Code) {
	switch {
	case !isShare(share):
		i.cluster.errorf("FailSome share %v: want 0 to 1", share)
	case share == 0:
		i.FailFunc(nil)
	case code == codes.OK:
		i.cluster.errorf("FailSome code %v: want that of a failure", code)
	default:
		i.FailFunc(func(_ string, call int64) error {
			if i.chance(failures, call) < share {
				return status.Errorf(code, "%s was told to fail", i.id)
			}
			return nil
		})
	}
}

// FailFunc asks fail of every call, with its full method and its number at this instance
// from 1, whether to end it with an error, before its handler. It is called from the
// goroutines of the calls. nil ends it.
func (i *Instance) FailFunc(fail func(method string, call int64) error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.fail = fail
}

// LoseAnswers makes a share of the calls, from 0 to 1, be executed and then lose their
// connection in place of their answer, and with it all calls on that connection. The
// instance lives, and takes new connections. Which calls is as random as in DelaySome. A
// share of 0 ends it.
func (i *Instance) LoseAnswers(share float64) {
	if !isShare(share) {
		i.cluster.errorf("LoseAnswers share %v: want 0 to 1", share)
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.lose = share
}

// KillAfter makes the instance execute that many more calls, answer all but the last, and be
// killed in place of that answer. Failed and refused calls are not counted. 0 takes it back.
func (i *Instance) KillAfter(calls int) {
	if calls < 0 {
		i.cluster.errorf("KillAfter calls %d: want 0 or more", calls)
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.killAfter = calls
}

// What chance decides: each has a sequence of its own.
const (
	delays uint64 = iota
	failures
	losses
)

// chance is a random number from 0 to 1, the same for the same call in every run.
func (i *Instance) chance(of uint64, call int64) float64 {
	return rand.New(rand.NewPCG(uint64(i.number)<<8|of, uint64(call))).Float64()
}

func isShare(share float64) bool { return share >= 0 && share <= 1 }
