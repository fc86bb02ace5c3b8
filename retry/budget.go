package retry

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// BudgetPolicy says how many retries a client may make. The zero value is
// the documented default, and so is each zero field.
type BudgetPolicy struct {
	// Ratio is how many retries each call pays for. Default 0.2 (Finagle, Linkerd).
	Ratio float64

	// PerSecond is how many retries each second pays for, so that a client that calls
	// rarely can retry. Default 10 (Finagle, Linkerd).
	PerSecond float64

	// MinCapacity is the least a full budget holds. Default 10.
	MinCapacity float64
}

// WithDefaults returns p with every zero field replaced by its default.
func (p BudgetPolicy) WithDefaults() BudgetPolicy {
	setDefault(&p.Ratio, 0.2)
	setDefault(&p.PerSecond, 10)
	setDefault(&p.MinCapacity, 10)
	return p
}

// Validate reports everything that is wrong with p, joined; nil if nothing is.
func (p BudgetPolicy) Validate() error {
	p = p.WithDefaults()
	return errors.Join(
		inRange("Ratio", p.Ratio, 0, 10),
		inRange("PerSecond", p.PerSecond, 0, 1e6),
		inRange("MinCapacity", p.MinCapacity, 1, 1e6),
	)
}

// The last second is seen in slots: the current one and the nine before it.
const (
	slotLength  = 100 * time.Millisecond
	secondSlots = 10
)

// Budget is a token bucket that bounds the retries of a client: see the
// package comment. It is safe for concurrent use. It reads no clock: every now must
// come from the same one.
type Budget struct {
	policy BudgetPolicy
	origin time.Time // instants are nanoseconds since it

	calls atomic.Uint64 // deposited so far
	slot  atomic.Int64  // the newest slot with a call

	mu      sync.Mutex // guards what follows; a call takes it once per slot
	marks   [secondSlots]mark
	balance float64
	settled int64  // the instant up to which balance holds PerSecond
	counted uint64 // the calls that balance holds
}

// mark says how many calls there had been when a slot saw its first.
type mark struct {
	slot   int64
	before uint64
}

// NewBudget returns a full budget. p must be valid: see [BudgetPolicy.Validate].
func NewBudget(p BudgetPolicy, now time.Time) *Budget {
	b := &Budget{policy: p.WithDefaults(), origin: now}
	b.slot.Store(-1)
	for i := range b.marks {
		b.marks[i].slot = -secondSlots
	}
	b.balance = b.capacity(0)
	return b
}

// Deposit pays in for one call. It is one atomic addition; one call in each 100 ms also
// takes a lock for a few stores.
func (b *Budget) Deposit(now time.Time) {
	n := b.calls.Add(1)
	slot := b.instant(now) / int64(slotLength)
	newest := b.slot.Load()
	if slot <= newest || !b.slot.CompareAndSwap(newest, slot) {
		return
	}
	b.mu.Lock()
	b.marks[slot%secondSlots] = mark{slot, n - 1}
	b.mu.Unlock()
}

// Withdraw pays for one retry, or reports that the budget cannot.
func (b *Budget) Withdraw(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.settle(b.instant(now))
	if b.balance < 1 {
		return false
	}
	b.balance--
	return true
}

// Balance returns how many retries the budget can pay for now.
func (b *Budget) Balance(now time.Time) float64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.settle(b.instant(now))
	return b.balance
}

// Capacity returns how many it could pay for now, were it full.
func (b *Budget) Capacity(now time.Time) float64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.capacity(b.lastSecond(b.instant(now), b.calls.Load()))
}

// settle adds what came in since the last settling, up to the capacity. Nothing was
// taken out in between, so it does not matter that it was not done on the way. It
// requires b.mu.
func (b *Budget) settle(t int64) {
	calls := b.calls.Load()
	income := b.policy.Ratio * float64(calls-b.counted)
	b.counted = calls
	if t > b.settled {
		income += b.policy.PerSecond * time.Duration(t-b.settled).Seconds()
		b.settled = t
	}
	b.balance = min(b.balance+income, b.capacity(b.lastSecond(t, calls)))
}

func (b *Budget) capacity(calls uint64) float64 {
	return max(b.policy.MinCapacity, b.policy.PerSecond+b.policy.Ratio*float64(calls))
}

// lastSecond counts the calls since the beginning of the oldest slot of the second
// before t. It requires b.mu.
func (b *Budget) lastSecond(t int64, calls uint64) uint64 {
	oldest := t/int64(slotLength) - (secondSlots - 1)
	before := calls
	for _, m := range b.marks {
		if m.slot >= oldest {
			before = min(before, m.before)
		}
	}
	return calls - before
}

// instant is never negative: a now before the budget was made is when it was made.
func (b *Budget) instant(t time.Time) int64 { return max(0, int64(t.Sub(b.origin))) }
