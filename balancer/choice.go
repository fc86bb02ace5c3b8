package balancer

import (
	"math"
	"slices"
	"sync/atomic"
)

// Choice is how one instance is chosen among the eligible ones. The set is closed:
// [LeastLoaded] and [RoundRobin].
type Choice interface {
	String() string
	// prepare is called off the hot path, for each new set of candidates.
	prepare(f *Fleet, candidates []candidate) chooser
}

// chooser chooses one candidate for an attempt, or none if it meets only ones that
// cannot be picked in a bounded number of draws. It is safe for concurrent use.
type chooser interface {
	choose(a *Attempt, now int64) *candidate
}

// candidate is an instance that was eligible when the picker was built.
type candidate struct {
	*Instance
	relative float64 // weight ÷ mean weight
}

// The choices.
var (
	// LeastLoaded samples two instances in proportion to weight and takes the less
	// loaded one. Load is (in-flight ÷ weight + 1) × latency estimate.
	LeastLoaded Choice = leastLoaded{}
	// RoundRobin takes instances in turn, each as often as its weight says, spread as
	// evenly as can be (smooth weighted round robin). It does not look at load.
	RoundRobin Choice = roundRobin{}
)

const (
	// maxDraws bounds how many ineligible instances a choice may meet before it gives
	// up and the picker scans.
	maxDraws = 8
	// maxRedraws bounds how often the second sample is drawn again because it is the first.
	maxRedraws = 4
	// band is how much lower the second sample's load must be to win. With none, chance
	// in the latencies undoes the weights. Chosen by simulation of 20,000 calls by 1 to 64
	// callers over weights 1:2:4: from 0.5 to 1, constant latencies keep within 10 % of the
	// weights from 8 callers on with 0.6 and more; exponential ones miss by 22 % with one
	// caller at 0.85, by 4 % at 0.7, and by 11 to 15 % with 8 callers at any.
	band = 0.7
)

type leastLoaded struct{}

func (leastLoaded) String() string { return "least loaded" }

func (leastLoaded) prepare(f *Fleet, candidates []candidate) chooser {
	weights := make([]float64, len(candidates))
	for i := range candidates {
		weights[i] = candidates[i].relative
	}
	return &leastLoadedChooser{f, candidates, newAlias(weights)}
}

type leastLoadedChooser struct {
	fleet      *Fleet
	candidates []candidate
	table      alias
}

func (c *leastLoadedChooser) choose(a *Attempt, now int64) *candidate {
	s := sampling{left: maxDraws, whole: 1}
	first := c.draw(a, now, &s)
	if first == nil || len(c.candidates) == 1 {
		return first
	}
	for range maxRedraws {
		second := c.draw(a, now, &s)
		if second == nil {
			break
		}
		if second == first {
			continue
		}
		if c.wins(second, first, now) {
			return second
		}
		break
	}
	return first
}

// wins decides for the second sample if its load is lower by more than the band, but for
// a chance of the square of their ratio, which is one call in four at half the load and
// one in a hundred at a tenth: an instance that seemed slow for a moment has to be
// called to show that it is not.
func (c *leastLoadedChooser) wins(second, first *candidate, now int64) bool {
	median := c.fleet.median.get()
	ratio := second.load(now, second.relative, median) / first.load(now, first.relative, median)
	return ratio < band && c.fleet.chance() >= ratio*ratio
}

// draw samples candidates until one can be picked for a and is taken, with the probability
// of its share; nil if too many were not.
func (c *leastLoadedChooser) draw(a *Attempt, now int64, s *sampling) *candidate {
	for {
		for ; s.left > 0; s.left-- {
			i := &c.candidates[c.table.draw(c.fleet.random())]
			if !a.may(i.Instance) {
				continue
			}
			share := c.fleet.share(i.Instance, now)
			if share > s.most {
				s.most = share
			}
			if share >= s.whole || share > 0 && c.fleet.chance()*s.whole < share {
				return i
			}
		}
		if !s.lower() {
			return nil
		}
	}
}

// sampling is how the draws of one choice go by shares.
type sampling struct {
	left  int     // draws that may still meet one that is not taken
	whole float64 // a share as large as this is always taken
	most  float64 // the largest met
}

// lower takes the largest share met for the whole, so that when all have little, they have
// it of all calls: or most draws would meet nobody, and loads would never be compared.
func (s *sampling) lower() bool {
	if s.most == 0 || s.most >= s.whole {
		return false
	}
	s.left, s.whole = maxDraws, s.most
	return true
}

type roundRobin struct{}

func (roundRobin) String() string { return "round robin" }

func (roundRobin) prepare(f *Fleet, candidates []candidate) chooser {
	c := &roundRobinChooser{fleet: f, candidates: candidates, upTo: make([]float64, len(candidates))}
	sum, equal := 0.0, true
	for i := range candidates {
		sum += candidates[i].relative
		c.upTo[i] = sum
		equal = equal && candidates[i].relative == candidates[0].relative
	}
	for i := range c.upTo {
		c.upTo[i] /= sum
	}
	c.step = (math.Sqrt(5) - 1) / 2
	if equal {
		c.step = 1 / float64(len(candidates))
	}
	c.turn.Store(f.random() >> 40) // clients that start together must not march in step
	return c
}

// roundRobinChooser lays the instances side by side on a line of length 1, each as
// wide as its share, and walks it in steps of the golden ratio, wrapping around: no
// other step visits every stretch of the line so evenly (its discrepancy is
// logarithmic). Equal shares are walked in steps of one share, which is plain rotation.
type roundRobinChooser struct {
	fleet      *Fleet
	candidates []candidate
	upTo       []float64 // where each one's stretch ends
	step       float64
	turn       atomic.Uint64
}

func (c *roundRobinChooser) choose(a *Attempt, now int64) *candidate {
	var spare *candidate // of those not taken, each with the probability of its share
	sum := 0.0
	for range maxDraws {
		turn := c.turn.Add(1)
		_, point := math.Modf((float64(turn%(1<<40)) + 0.5) * c.step)
		at, _ := slices.BinarySearch(c.upTo, point)
		i := &c.candidates[min(at, len(c.candidates)-1)]
		if !a.may(i.Instance) {
			continue
		}
		share := c.fleet.share(i.Instance, now)
		if share >= 1 || share > 0 && c.fleet.chance() < share {
			return i
		}
		if sum += share; share > 0 && c.fleet.chance()*sum < share {
			spare = i
		}
	}
	return spare
}
