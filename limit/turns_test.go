package limit_test

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/surecall/surecall/limit"
)

// turn is a call of the model.
type turn struct {
	cancel context.CancelFunc
	end    chan error
	want   error
	waits  bool
}

// FuzzTurns plays a rate whose calls wait, and some give up, against one written as
// plainly as possible: what came in since is an amount of microseconds.
func FuzzTurns(f *testing.F) {
	f.Add(uint8(1), []byte{0, 0, 0, 0, 1, 9, 90, 1, 0, 254, 0, 0})
	f.Add(uint8(5), []byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 5, 9, 250, 0, 0, 0, 0, 0, 0, 0, 0, 50, 0})
	f.Fuzz(playTurns)
}

func TestTurnsAgainstModel(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 300 {
		ops := make([]byte, 200)
		for i := range ops {
			ops[i] = byte(r.Uint32())
		}
		playTurns(t, uint8(r.Uint32()), ops)
	}
}

func playTurns(t *testing.T, burst uint8, ops []byte) {
	if len(ops) > 1000 {
		t.Skip("longer than it is worth")
	}
	const one, longest = 10_000, 100_000 // microseconds: for a call, and to wait
	most := (1 + int(burst%8)) * one
	synctest.Test(t, func(t *testing.T) {
		l := limit.NewRateLimiter(limit.Rate{PerSecond: 100, Burst: most / one, Wait: true, MaxWait: longest*time.Microsecond + 500}, time.Now())
		credit := most
		var waiting, all []*turn
		drop := func(n int, why error) {
			waiting[n].waits, waiting[n].want = false, why
			waiting = slices.Delete(waiting, n, n+1)
		}
		for i, op := range ops {
			switch arg := int(op / 4); op % 4 {
			case 0, 1, 2:
				if op%4 == 2 {
					if len(waiting) > 0 {
						waiting[arg%len(waiting)].cancel()
						drop(arg%len(waiting), context.Canceled)
					}
					break
				}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				c := &turn{cancel: cancel, end: make(chan error, 1)}
				all = append(all, c)
				switch wait := one*(1+len(waiting)) - credit; {
				case wait <= 0:
					credit -= one
				case wait > longest:
					c.want = limit.ErrRate
				default:
					c.waits = true
					waiting = append(waiting, c)
				}
				go func() {
					err := l.Take(ctx, limit.Ask{Priority: limit.Critical}, time.Now())
					if _, refused := err.(*limit.RateError); refused {
						err = limit.ErrRate
					}
					c.end <- err
				}()
			case 3:
				slept := arg*1000 + 7 // so that no call comes with a token
				time.Sleep(time.Duration(slept) * time.Microsecond)
				for credit += slept; len(waiting) > 0 && credit >= one; credit -= one {
					drop(0, nil)
				}
				credit = min(credit, most)
			}
			synctest.Wait()
			all = slices.DeleteFunc(all, func(c *turn) bool {
				if (len(c.end) == 0) != c.waits {
					t.Fatalf("op %d: waits: %v, want %v", i, !c.waits, c.waits)
				}
				if !c.waits {
					if err := <-c.end; err != c.want {
						t.Fatalf("op %d: %v, want %v", i, err, c.want)
					}
				}
				return !c.waits
			})
		}
		for _, c := range all {
			c.cancel()
		}
	})
}
