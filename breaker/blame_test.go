package breaker_test

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/surecall/surecall/breaker"
)

func TestBlame(t *testing.T) {
	for _, c := range []struct {
		name      string
		connected int
		failed    []uint64 // instances, one failure each, at second 0
		successes int      // before them
		want      bool     // of the last
	}{
		{"one of one", 1, []uint64{1, 1, 1}, 0, false},
		{"one of two", 2, []uint64{1, 1, 1}, 0, false},
		{"both of two", 2, []uint64{1, 2}, 0, true},
		{"half of four", 4, []uint64{1, 2}, 0, false},
		{"three of four", 4, []uint64{1, 2, 3}, 0, true},
		{"three of three, but it mostly works", 3, []uint64{1, 2, 3}, 4, false},
		{"three of three, half of its attempts", 3, []uint64{1, 2, 3}, 3, true},
		{"two were known, one is connected", 1, []uint64{1, 2}, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := breaker.NewBlame()
			for range c.successes {
				b.Success(at(0))
			}
			var got bool
			for _, instance := range c.failed {
				got = b.Failure(instance, at(0), c.connected)
			}
			if got != c.want {
				t.Fatalf("shared is %v, want %v", got, c.want)
			}
		})
	}
}

func TestBlameForgets(t *testing.T) {
	b := breaker.NewBlame()
	b.Failure(1, at(0), 2)
	if b.Failure(2, at(10*time.Second), 2) {
		t.Fatal("a failure of 10s ago was counted")
	}
	if !b.Failure(1, at(15*time.Second-1), 2) {
		t.Fatal("a failure of less than 5s ago was forgotten")
	}
	for range 9 {
		b.Success(at(15 * time.Second))
	}
	if b.Failure(2, at(15*time.Second), 2) {
		t.Fatal("successes of this moment were not counted")
	}
	b.Failure(1, at(25*time.Second), 2)
	if !b.Failure(2, at(25*time.Second), 2) {
		t.Fatal("successes of 10s ago were counted")
	}
}

// blameReference keeps everything and counts anew. Its halves are cut where a Blame
// cuts them, which nobody outside can know: so base is an exact moment of one.
type blameReference struct {
	successes []int64
	failures  []blameFailure
}

type blameFailure struct {
	half     int64
	instance uint64
}

func (r *blameReference) shared(half int64, connected int) bool {
	var successes, failures int
	instances := map[uint64]bool{}
	for _, h := range r.successes {
		if h >= half-1 {
			successes++
		}
	}
	for _, f := range r.failures {
		if f.half >= half-1 {
			failures++
			instances[f.instance] = true
		}
	}
	return connected > 1 && len(instances) > 1 && len(instances)*2 > connected && failures >= successes
}

func TestBlameModel(t *testing.T) {
	const half = 5 * time.Second
	shared := 0
	for seed := range uint64(500) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		b, ref := breaker.NewBlame(), &blameReference{}
		base := time.Now() // within the test's first half, whose middle is far enough
		for now := int64(1); now < 40; now += rnd.Int64N(3) / 2 {
			moment := base.Add(time.Duration(now)*half + half/2)
			if rnd.IntN(2) == 0 {
				b.Success(moment)
				ref.successes = append(ref.successes, now)
				continue
			}
			instance, connected := rnd.Uint64N(5), rnd.IntN(6)
			ref.failures = append(ref.failures, blameFailure{now, instance})
			got, want := b.Failure(instance, moment, connected), ref.shared(now, connected)
			if got != want {
				t.Fatalf("seed %d, half %d: shared is %v, want %v", seed, now, got, want)
			}
			if got {
				shared++
			}
		}
	}
	if shared < 500 {
		t.Fatalf("shared %d times only: the programs test little", shared)
	}
}

func TestBlameInParallel(t *testing.T) {
	b := breaker.NewBlame()
	var callers sync.WaitGroup
	for n := range uint64(4) {
		callers.Go(func() {
			for range 10_000 {
				b.Success(at(0))
				b.Failure(n, at(0), 4)
			}
		})
	}
	callers.Wait()
	b.Success(at(0))
	if b.Failure(0, at(0), 4); !b.Failure(0, at(0), 4) {
		t.Fatal("four of four instances failed half of all attempts, and it is not shared")
	}
	for range 2 {
		b.Success(at(0))
	}
	if b.Failure(0, at(0), 4) != true {
		t.Fatal("not shared at exactly half")
	}
	b.Success(at(0))
	b.Success(at(0))
	if b.Failure(0, at(0), 4) {
		t.Fatal("shared below half: failures or successes were lost")
	}
}

func TestBlameTakesLateNews(t *testing.T) {
	b := breaker.NewBlame()
	for range 2 {
		b.Success(at(time.Minute))
	}
	b.Success(at(0)) // must not wipe out the newer count
	b.Failure(1, at(time.Minute), 2)
	if !b.Failure(2, at(0), 2) {
		t.Fatal("a failure that came late was not counted")
	}
	b.Success(at(time.Minute))
	if b.Failure(2, at(0), 2) != true {
		t.Fatal("not shared at exactly half")
	}
	b.Success(at(0))
	b.Success(at(time.Minute))
	if b.Failure(2, at(time.Minute), 2) != true {
		t.Fatal("a success of long ago was counted")
	}
	b.Success(at(time.Minute))
	b.Success(at(time.Minute))
	if b.Failure(2, at(time.Minute), 2) {
		t.Fatal("newer successes were wiped out by one that came late")
	}
}

func BenchmarkBlameSuccess(b *testing.B) {
	b.ReportAllocs()
	blame := breaker.NewBlame()
	now := time.Now()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			blame.Success(now)
		}
	})
}

// What was seen in an outage of the whole service is no method's fault once it is over.
func TestBlameForgetsAnOutage(t *testing.T) {
	b, now := breaker.NewBlame(), time.Now()
	for instance := range uint64(3) {
		b.Failure(instance, now, 3)
	}
	b.Forget()
	if b.Failure(1, now, 3) {
		t.Error("the first failure after Forget is shared: want it to be the instance's own")
	}
	if !b.Failure(2, now, 3) {
		t.Error("two of three instances fail: want it shared again")
	}
}
