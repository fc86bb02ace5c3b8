package memory

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/surecall/surecall/discovery"
)

// TestVitalsModel plays heart-beats at random and compares with a reference that keeps
// the whole history and steps through it second by second.
func TestVitalsModel(t *testing.T) {
	const ttl, after = 5, 20 // seconds
	start := time.Unix(1000, 0)
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 0))
		v := vitals{ttl: ttl * time.Second, after: after * time.Second}
		v.beat(start, discovery.Passing, "")
		reported, silent, critical := discovery.Passing, 0, 0 // seconds of silence, of being critical
		for second := 1; second <= 300; second++ {
			now := start.Add(time.Duration(second) * time.Second)
			silent++
			was := reported == discovery.Critical || silent > ttl
			if was {
				critical++
			}
			if random.IntN(6) == 0 {
				reported, silent = discovery.Health(random.IntN(4)), 0
				v.beat(now, reported, "")
			}
			is := reported == discovery.Critical || silent >= ttl
			if !is || !was && is {
				critical = 0
			}
			want := reported
			if is {
				want = discovery.Critical
			}
			h, _, next := v.at(now)
			if h != want || v.forgotten(now) != (is && critical >= after) {
				t.Fatalf("seed %d, second %d: %v, forgotten %v; want %v after %d critical seconds", seed, second, h, v.forgotten(now), want, critical)
			}
			if !v.forgotten(now) && !next.After(now) {
				t.Fatalf("seed %d, second %d: the next change is at %v, not after %v", seed, second, next, now)
			}
			if before, _, _ := v.at(next.Add(-1)); before != h {
				t.Fatalf("seed %d, second %d: %v became %v before %v", seed, second, h, before, next)
			}
		}
	}
}
