package balancer

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/surecall/surecall/internal/endpoint"
)

// keyed returns members with these IDs and weights.
func keyed(weights map[string]int) []*Instance {
	var all []*Instance
	for id, weight := range weights {
		i := &Instance{identity: identity{id: id, address: "10.0.0.1:80"}}
		i.weight.Store(int64(weight))
		i.info.Store(&endpoint.Info{ID: id, Weight: weight})
		all = append(all, i)
	}
	return all
}

// owners returns who each of n keys stands for.
func owners(weights map[string]int, n int) []string {
	t := newKeyTable(keyed(weights), 0)
	all := make([]string, n)
	for k := range all {
		all[k] = t.find(scatter(hash(fmt.Sprintf("customer-%d", k)), 0)).id
	}
	return all
}

// TestKeysMoveOnlyWithTheirOwn: when one instance joins, leaves or changes its weight,
// no key moves between two others.
func TestKeysMoveOnlyWithTheirOwn(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for round := range 30 {
		weights := map[string]int{}
		for n := range 1 + r.IntN(12) {
			weights[fmt.Sprintf("i%d-%d", round, n)] = 1 + r.IntN(1+r.IntN(1000))
		}
		before := owners(weights, 1000)
		changed := fmt.Sprintf("i%d-%d", round, r.IntN(len(weights)+1))
		switch _, known := weights[changed]; {
		case known && len(weights) > 1 && r.IntN(2) == 0:
			delete(weights, changed)
		default:
			weights[changed] = 1 + r.IntN(1000)
		}
		for k, owner := range owners(weights, 1000) {
			if owner == before[k] {
				continue
			}
			if owner != changed && before[k] != changed {
				t.Fatalf("%s changed, and a key of %s went to %s", changed, before[k], owner)
			}
		}
	}
}

// TestKeysSpreadByWeight: of 10 instances none is more than a sixth off its share, and in
// the mean of five fleets the worst is less than a tenth off.
func TestKeysSpreadByWeight(t *testing.T) {
	for _, weightOf := range []func(int) int{
		func(int) int { return 1 },
		func(n int) int { return 1 << (n % 3) },
		func(n int) int { return 100 + 37*n },
	} {
		const fleets = 5
		mean := 0.0
		for fleet := range fleets {
			weights, sum := map[string]int{}, 0
			for n := range 10 {
				w := weightOf(n)
				weights[fmt.Sprintf("fleet%d-%d", fleet, n)] = w
				sum += w
			}
			const keys = 10000
			got := map[string]int{}
			for _, owner := range owners(weights, keys) {
				got[owner]++
			}
			worst := 0.0
			for id, w := range weights {
				want := float64(keys*w) / float64(sum)
				worst = max(worst, math.Abs(float64(got[id])-want)/want)
			}
			if worst > 1.0/6 {
				t.Errorf("%v: got %v", weights, got)
			}
			mean += worst / fleets
		}
		if mean > 0.10 {
			t.Errorf("the worst of ten is %.1f %% off in the mean", 100*mean)
		}
	}
}

// TestKeysAreTheSameEverywhere: in all processes and versions, whatever the order in which
// the source lists the instances.
func TestKeysAreTheSameEverywhere(t *testing.T) {
	got := owners(map[string]int{"orders-1": 1, "orders-2": 1, "orders-3": 2}, 12)
	want := owners(map[string]int{"orders-3": 2, "orders-1": 1, "orders-2": 1}, 12)
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("listed otherwise: %v and %v", got, want)
	}
	const fixed = "[orders-2 orders-1 orders-1 orders-2 orders-3 orders-2 orders-2 orders-1 orders-2 orders-2 orders-1 orders-3]"
	if fmt.Sprint(got) != fixed {
		t.Errorf("the keys of clients of another version stand for %s, ours for %v", fixed, got)
	}
}

// TestKeysOfNobody: with no instance of the priority a key stands for none.
func TestKeysOfNobody(t *testing.T) {
	if i := newKeyTable(keyed(map[string]int{"a": 1}), 3).find(7); i != nil {
		t.Errorf("found %s", i.id)
	}
}

// TestWeighed: weights below 128 count as they are and all within 1/64.
func TestWeighed(t *testing.T) {
	for w := int64(1); w > 0 && w < math.MaxInt64/2; w += 1 + w/100 {
		power, points := weighed(w)
		got := math.Ldexp(float64(points), power-pointBits)
		if w < 128 && got != float64(w) || math.Abs(float64(w)-got) > float64(w)/64 || points < 64 || points > 127 {
			t.Fatalf("%d counts as %v, with %d points", w, got, points)
		}
	}
}

// TestKeysHaveFewRings, however many weights there are: a search looks at each.
func TestKeysHaveFewRings(t *testing.T) {
	weights := map[string]int{}
	for n := range 1000 {
		weights[fmt.Sprint("i", n)] = 1 + n
	}
	if n := len(newKeyTable(keyed(weights), 0).rings); n != 10 {
		t.Errorf("%d rings for the weights from 1 to 1,000, want one for each power of two", n)
	}
}

// FuzzKeys: any key and any IDs, also alike or empty, find somebody, and the same again.
func FuzzKeys(f *testing.F) {
	f.Add("k", "a", "b", 1, 3)
	f.Add("", "", "", 0, 1<<40)
	f.Fuzz(func(t *testing.T, key, a, b string, weightA, weightB int) {
		members := append(keyed(map[string]int{a: max(weightA, 1)}), keyed(map[string]int{b: max(weightB, 1)})...)
		first := newKeyTable(members, 0).find(hash(key))
		members[0], members[1] = members[1], members[0]
		if again := newKeyTable(members, 0).find(hash(key)); first == nil || first.id != again.id {
			t.Errorf("found %s, then %s", first.ID(), again.ID())
		}
	})
}

// BenchmarkKeys: one key's instance, and the building of the table, when all weigh the same
// and with the weights from 1 to 1,000.
func BenchmarkKeys(b *testing.B) {
	for _, n := range []int{10, 1000, 10000} {
		for _, most := range []int{1, 1000} {
			weights := map[string]int{}
			for k := range n {
				weights[fmt.Sprintf("orders-%d", k)] = 1 + k*97%most
			}
			members := keyed(weights)
			b.Run(fmt.Sprintf("build %d, weights to %d", n, most), func(b *testing.B) {
				for b.Loop() {
					newKeyTable(members, 0)
				}
			})
			table, key := newKeyTable(members, 0), uint64(0)
			b.Run(fmt.Sprintf("find among %d, weights to %d", n, most), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					key++
					table.find(scatter(key, 0))
				}
			})
		}
	}
}
