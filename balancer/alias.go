package balancer

import "math/bits"

// alias draws an index with a probability in proportion to its weight, in constant
// time (Walker's method, with Vose's construction).
type alias struct {
	// cut[i] is the probability, in 2^32nds, that column i stands for itself and not
	// for other[i].
	cut   []uint32
	other []uint32
}

func newAlias(weights []float64) alias {
	n := len(weights)
	t := alias{cut: make([]uint32, n), other: make([]uint32, n)}
	sum := 0.0
	for _, w := range weights {
		sum += w
	}
	scaled := make([]float64, n) // mean 1
	var small, large []int
	for i, w := range weights {
		scaled[i] = w * float64(n) / sum
		if scaled[i] < 1 {
			small = append(small, i)
		} else {
			large = append(large, i)
		}
	}
	const one = 1<<32 - 1
	for len(small) > 0 && len(large) > 0 {
		s, l := small[len(small)-1], large[len(large)-1]
		small = small[:len(small)-1]
		t.cut[s], t.other[s] = uint32(scaled[s]*one), uint32(l)
		if scaled[l] -= 1 - scaled[s]; scaled[l] < 1 {
			large = large[:len(large)-1]
			small = append(small, l)
		}
	}
	for _, i := range append(small, large...) {
		t.cut[i], t.other[i] = one, uint32(i)
	}
	return t
}

// draw turns 64 random bits into an index: the high half chooses the column, the low
// half between its two.
func (t *alias) draw(random uint64) int {
	column, _ := bits.Mul64(random&^(1<<32-1), uint64(len(t.cut)))
	if uint32(random) <= t.cut[column] {
		return int(column)
	}
	return int(t.other[column])
}
