package retry

import "time"

// Hedge says when a second attempt is sent beside one that takes long. The zero value is
// the documented default. Only idempotent methods can be hedged, and each hedge is paid
// for from the budget that retries share.
type Hedge struct {
	// Delay is how long the first attempt may take before the second is sent. Default: the
	// method's 95th percentile of the last 20 s, at least 1ms, from 20 answers on; until
	// then none is sent (Dean and Barroso, "The Tail at Scale", 2013: one call in twenty
	// is sent twice).
	Delay time.Duration
}

// maxHedgeDelay bounds Hedge.Delay: one that long is a mistake.
const maxHedgeDelay = time.Hour

// Validate reports what is wrong with h; nil if nothing is.
func (h Hedge) Validate() error { return inRange("Hedge.Delay", h.Delay, 0, maxHedgeDelay) }
