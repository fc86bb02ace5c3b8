package consul

import "time"

const (
	backoffBase    = 100 * time.Millisecond
	backoffMax     = 30 * time.Second
	permanentStart = 5 * time.Second
)

// backoff returns the pause after the n-th failure in a row (from 1): up to 100 ms ×
// 2^(n-1), at most ceiling, with full jitter, so that the clients of a failed agent
// come back spread out. slow failures never wait less than 5 s. random is in [0,1).
func backoff(n int, slow bool, ceiling time.Duration, random func() float64) time.Duration {
	base, floor := backoffBase, backoffBase/10
	if slow {
		base, floor = 2*permanentStart, permanentStart
	}
	top := ceiling
	if shift := n - 1; shift < 20 && base<<shift < ceiling {
		top = base << shift
	}
	return max(floor, time.Duration(random()*float64(top)))
}
