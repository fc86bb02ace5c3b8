package retry_test

import (
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/surecall/surecall/retry"
)

var epoch = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

// at is a moment of the tests, which need no clock.
func at(d time.Duration) time.Time { return epoch.Add(d) }

// drain withdraws until the budget is empty.
func drain(b *retry.Budget, now time.Time) (n int) {
	for b.Withdraw(now) {
		n++
	}
	return n
}

func TestBudgetStartsFull(t *testing.T) {
	b := retry.NewBudget(retry.BudgetPolicy{}, at(0))
	if n := drain(b, at(0)); n != 10 {
		t.Fatalf("a new budget pays for %d retries, want 10", n)
	}
}

func TestBudgetIncome(t *testing.T) {
	for _, c := range []struct {
		name  string
		calls int
		after time.Duration
		want  int
	}{
		{"nothing", 0, 0, 0},
		{"four calls", 4, 0, 0},
		{"five calls", 5, 0, 1},
		{"49 calls", 49, 0, 9},
		{"a tenth of a second", 0, 100 * time.Millisecond, 1},
		{"a second", 0, time.Second, 10},
		{"an hour saves up no more than a second", 0, time.Hour, 10},
		{"a second with calls", 100, time.Second - 1, 29},
		{"a rush is paid for in full", 1000, 0, 200},
		{"a rush long ago is not saved up", 1000, 2 * time.Second, 10},
		{"a now before the budget was made", 0, -time.Hour, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := retry.NewBudget(retry.BudgetPolicy{}, at(0))
			drain(b, at(0))
			for range c.calls {
				b.Deposit(at(0))
			}
			if got := drain(b, at(c.after)); got != c.want {
				t.Fatalf("pays for %d retries, want %d", got, c.want)
			}
		})
	}
}

// Concurrent callers hand in their moments in any order.
func TestBudgetWithAClockThatStepsBack(t *testing.T) {
	b := retry.NewBudget(retry.BudgetPolicy{}, at(0))
	drain(b, at(10*time.Second))
	for _, d := range []time.Duration{0, 9 * time.Second, -time.Hour, 10 * time.Second} {
		b.Deposit(at(d))
		b.Deposit(at(d))
		if got := b.Balance(at(d)); got < 0 || got > 2 {
			t.Fatalf("after a step to %v the balance is %v, want what 2 to 8 calls pay for", d, got)
		}
	}
	if got := b.Balance(at(10 * time.Second)); math.Abs(got-1.6) > 1e-9 {
		t.Fatalf("balance is %v, want 1.6 of 8 calls: a second was paid twice", got)
	}
}

// The promise that the budget is for: a service that fails every call of a steady
// 1,000 per second is sent 21 % more, not three times as many.
func TestBudgetBoundsAStorm(t *testing.T) {
	b := retry.NewBudget(retry.BudgetPolicy{}, at(0))
	retries := 0
	for ms := range 60_000 {
		now := at(time.Duration(ms) * time.Millisecond)
		b.Deposit(now)
		for range 2 {
			if b.Withdraw(now) {
				retries++
			}
		}
	}
	if want := 60*(200+10) + 10; retries < want-20 || retries > want {
		t.Fatalf("%d retries of 60,000 calls in a minute, want about %d", retries, want)
	}
}

// budgetReference keeps every call and counts anew.
type budgetReference struct {
	policy  retry.BudgetPolicy
	balance float64
	last    time.Time
	calls   []time.Time
	counted int
}

func (r *budgetReference) look(now time.Time) (balance, capacity float64) {
	slot := func(t time.Time) int64 { return int64(t.Sub(epoch) / (100 * time.Millisecond)) }
	lastSecond := 0
	for i := len(r.calls) - 1; i >= 0 && slot(r.calls[i]) > slot(now)-10; i-- {
		lastSecond++
	}
	capacity = max(r.policy.MinCapacity, r.policy.PerSecond+r.policy.Ratio*float64(lastSecond))
	income := r.policy.PerSecond*now.Sub(r.last).Seconds() + r.policy.Ratio*float64(len(r.calls)-r.counted)
	r.balance = min(capacity, r.balance+income)
	r.last, r.counted = now, len(r.calls)
	return r.balance, capacity
}

func playBudget(t *testing.T, p retry.BudgetPolicy, program []byte) {
	b := retry.NewBudget(p, at(0))
	ref := &budgetReference{policy: p, balance: max(p.MinCapacity, p.PerSecond), last: at(0)}
	now := at(0)

	// Between any two withdrawals: no more of them than the capacity at the first, and
	// what came in until the second. Checked from each withdrawal that finds a new low.
	type low struct {
		at       time.Time
		capacity float64
		calls    int
		retries  int
	}
	var lows []low
	for n, op := range program {
		arg := time.Duration(op >> 2)
		switch op % 4 {
		case 0:
			now = now.Add(arg * arg * time.Millisecond)
		case 1:
			for range arg {
				b.Deposit(now)
				ref.calls = append(ref.calls, now)
			}
		default:
			want, capacity := ref.look(now)
			got := b.Balance(now)
			if math.Abs(got-want) > 1e-6 || got < 0 || got > capacity+1e-6 {
				t.Fatalf("step %d: balance is %v, want %v of at most %v", n, got, want, capacity)
			}
			if math.Abs(got-1) < 1e-6 {
				break // a rounding error decides
			}
			lows = append(lows, low{now, capacity, len(ref.calls), 0})
			if ok := b.Withdraw(now); ok != (want >= 1) {
				t.Fatalf("step %d: withdrawal of %v: %v", n, want, ok)
			} else if ok {
				ref.balance--
				for i := range lows {
					lows[i].retries++
				}
			}
			for _, l := range lows {
				most := l.capacity + p.PerSecond*now.Sub(l.at).Seconds() + p.Ratio*float64(len(ref.calls)-l.calls)
				if float64(l.retries) > most+1e-6 {
					t.Fatalf("step %d: %d retries in %v, want at most %v", n, l.retries, now.Sub(l.at), most)
				}
			}
		}
	}
}

func TestBudgetModel(t *testing.T) {
	for seed := range uint64(1000) {
		rnd := rand.New(rand.NewPCG(seed, 3))
		p := retry.BudgetPolicy{Ratio: 0.05 + rnd.Float64(), PerSecond: 20 * rnd.Float64(), MinCapacity: 1 + 20*rnd.Float64()}
		program := make([]byte, 200)
		for i := range program {
			program[i] = byte(rnd.Uint32())
		}
		playBudget(t, p, program)
	}
}

func FuzzBudget(f *testing.F) {
	f.Add(0.2, 10.0, 10.0, []byte{2, 2, 2, 0xfd, 2, 0x80, 2, 2})
	f.Fuzz(func(t *testing.T, ratio, perSecond, minCapacity float64, program []byte) {
		p := retry.BudgetPolicy{Ratio: ratio, PerSecond: perSecond, MinCapacity: minCapacity}.WithDefaults()
		if p.Validate() != nil || len(program) > 1000 {
			t.Skip("not a policy, or longer than it is worth")
		}
		playBudget(t, p, program)
	})
}

func TestBudgetInParallel(t *testing.T) {
	b := retry.NewBudget(retry.BudgetPolicy{}, at(0))
	drain(b, at(0))
	var callers sync.WaitGroup
	var retries atomic.Int64
	for range 4 {
		callers.Go(func() {
			for i := range 10_000 {
				now := at(time.Duration(i) * 10 * time.Microsecond) // 100 ms in all
				b.Deposit(now)
				if i%100 == 0 && b.Withdraw(now) {
					retries.Add(1)
				}
			}
		})
	}
	callers.Wait()
	retries.Add(int64(drain(b, at(99*time.Millisecond))))
	if n := retries.Load(); n != 8000 {
		t.Fatalf("40,000 calls and 0.1s paid for %d retries, want 8,000: deposits were lost", n)
	}
}

func TestBudgetPolicyValidate(t *testing.T) {
	if err := (retry.BudgetPolicy{}).Validate(); err != nil {
		t.Error(err)
	}
	err := retry.BudgetPolicy{Ratio: 11, PerSecond: -1, MinCapacity: math.NaN()}.Validate()
	for _, want := range []string{"retry: Ratio 11: want 0 to 10", "retry: PerSecond -1:", "retry: MinCapacity NaN:"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not say %q", err, want)
		}
	}
}

func TestDepositAllocatesNothing(t *testing.T) {
	b := retry.NewBudget(retry.BudgetPolicy{}, at(0))
	d := time.Duration(0)
	if n := testing.AllocsPerRun(1000, func() { d += time.Millisecond; b.Deposit(at(d)); b.Withdraw(at(d)) }); n != 0 {
		t.Errorf("Deposit and Withdraw allocate %v times", n)
	}
}

func BenchmarkDeposit(b *testing.B) {
	b.ReportAllocs()
	budget := retry.NewBudget(retry.BudgetPolicy{}, at(0))
	var step atomic.Int64
	b.RunParallel(func(pb *testing.PB) {
		now := at(0)
		for n := 0; pb.Next(); n++ {
			if n%1000 == 0 { // a new slot now and then, as at 10,000 calls per second
				now = at(time.Duration(step.Add(1)) * 100 * time.Millisecond)
			}
			budget.Deposit(now)
		}
	})
}

func BenchmarkWithdraw(b *testing.B) {
	b.ReportAllocs()
	budget := retry.NewBudget(retry.BudgetPolicy{}, at(0))
	for n := 0; b.Loop(); n++ {
		budget.Withdraw(at(time.Duration(n)))
	}
}
