package balancer

// marks are what keeps an instance out of the choice, beside its breaker. They are bits
// of one word, so that a pick reads all of them with one load.
type marks uint32

const (
	suspected  marks = 1 << iota // calls wait on it and nothing comes back
	hung                         // it did not answer a probe either
	notServing                   // its health service says so
	draining                     // it said that it is leaving
	forced                       // ejected by hand
)

func (i *Instance) has(m marks) bool { return marks(i.marks.Load())&m != 0 }

// set sets m and returns whether it was not set before.
func (i *Instance) set(m marks) bool { return marks(i.marks.Or(uint32(m)))&m == 0 }

// clear clears m and returns whether any of it was set.
func (i *Instance) clear(m marks) bool { return marks(i.marks.And(^uint32(m)))&m != 0 }

// marked tells of a change of i's marks, and has pickers go by it.
func (f *Fleet) marked(i *Instance, why string) {
	f.show(i, why)
	f.republish()
}
