package balancer

import (
	"math"
	"math/rand/v2"
	"testing"
)

// share enumerates what part of all random numbers lead to index i: the table is a
// finite thing.
func (t *alias) share(i int) float64 {
	sum := 0.0
	for column, cut := range t.cut {
		own := (float64(cut) + 1) / (1 << 32)
		if column == i {
			sum += own
		}
		if int(t.other[column]) == i {
			sum += 1 - own
		}
	}
	return sum / float64(len(t.cut))
}

func checkAlias(t *testing.T, weights []float64) {
	t.Helper()
	table, sum := newAlias(weights), 0.0
	for _, w := range weights {
		sum += w
	}
	for i, w := range weights {
		if got, want := table.share(i), w/sum; math.Abs(got-want) > 1e-8 {
			t.Errorf("weights %v: index %d is drawn with probability %v, want %v", weights, i, got, want)
		}
	}
}

func TestAlias(t *testing.T) {
	for _, weights := range [][]float64{
		{1}, {1, 1}, {1, 2, 4}, {65535, 1}, {1, 65535}, {1e-9, 1, 1e9}, {3, 3, 3, 3, 3}, {1, 2, 3, 4, 5, 6, 7},
	} {
		checkAlias(t, weights)
	}
}

// TestAliasDraw: all columns are reached, to the ends.
func TestAliasDraw(t *testing.T) {
	table := newAlias([]float64{1, 2, 4})
	if table.draw(0) != 0 && int(table.other[0]) != table.draw(0) {
		t.Error("the smallest number is not of the first column")
	}
	counts := make([]int, 3)
	r := rand.New(rand.NewPCG(1, 2))
	for range 70000 {
		counts[table.draw(r.Uint64())]++
	}
	for i, want := range []int{10000, 20000, 40000} {
		if d := counts[i] - want; d*d > 16*want { // four standard deviations
			t.Errorf("index %d drawn %d times, want %d", i, counts[i], want)
		}
	}
	for _, n := range []int{1, 3, 10000} {
		even := newAlias(make1(n))
		if i := even.draw(math.MaxUint64); i != n-1 {
			t.Errorf("the largest number draws %d of %d", i, n)
		}
	}
}

func make1(n int) []float64 {
	all := make([]float64, n)
	for i := range all {
		all[i] = 1
	}
	return all
}

func FuzzAlias(f *testing.F) {
	f.Add([]byte{1, 2, 4})
	f.Add([]byte{255, 1, 1, 128})
	f.Fuzz(func(t *testing.T, bytes []byte) {
		var weights []float64
		for n, b := range bytes[:min(len(bytes), 300)] {
			weights = append(weights, float64(b)*float64(n%5*n%7+1)+1)
		}
		if len(weights) > 0 {
			checkAlias(t, weights)
		}
	})
}
