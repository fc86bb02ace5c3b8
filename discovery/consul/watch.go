package consul

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/surecall/surecall/discovery"
)

// watch follows one query for all its users. Its loop runs in one goroutine and calls
// no user code; each user reads the latest snapshot on a goroutine of its own, so that
// a slow one delays nobody.
type watch struct {
	agent  *agent
	query  discovery.Query
	cancel context.CancelFunc
	done   chan struct{} // closed when the loop has ended
	stale  chan struct{} // the audit tells on it that the agent's view is stale

	// guarded by hub.mu
	users  int
	linger *time.Timer

	mu       sync.Mutex
	latest   discovery.Snapshot
	good     discovery.Snapshot // the latest without Err
	seq      uint64             // of latest; 0: none yet
	goodSeq  uint64             // of good; 0: none yet
	answered time.Time          // the last answer, also one that changed nothing
	view     []discovery.Instance
	trust    bool          // whether view is taken for the truth
	changed  chan struct{} // closed at the next publish
}

// burst of returns before the rate limit applies, so that a single change, and the
// second one that often follows it, is seen at once.
const burst = 3

func startWatch(a *agent, q discovery.Query) *watch {
	ctx, cancel := context.WithCancel(context.Background())
	w := &watch{
		agent: a, query: q, cancel: cancel,
		done: make(chan struct{}), stale: make(chan struct{}), changed: make(chan struct{}),
	}
	go w.run(ctx)
	return w
}

// stop ends the loop and waits for it.
func (w *watch) stop() {
	w.cancel()
	<-w.done
}

// run asks, judges and publishes until ctx ends.
func (w *watch) run(ctx context.Context) {
	defer close(w.done)
	var audit sync.WaitGroup
	defer audit.Wait()
	p := &progress{waitTime: w.agent.WaitTime, near: w.query.Near != ""}
	if w.query.Prepared != "" {
		p.refresh = w.agent.Refresh // each execution asks the leader: there is nothing to audit
	} else {
		audit.Go(func() { w.audit(ctx) })
	}
	limit := rate.NewLimiter(rate.Every(minInterval), burst)
	confirm := func() (answer, error) { return w.agent.leaderRead(ctx, w.query) }
	next := p.first()
	for pause(ctx, next.pause) && limit.Wait(ctx) == nil {
		a, stale, err := w.read(ctx, next)
		if ctx.Err() != nil {
			return
		}
		if stale {
			p.stale, next = true, p.first()
			continue
		}
		if err != nil {
			next = p.failed(err, rand.Float64)
			w.believe(nil, false)
			w.publish(discovery.Snapshot{Err: err})
			continue
		}
		set, doubt := p.judge(a, time.Now(), confirm)
		if ctx.Err() != nil {
			return
		}
		w.report(set, doubt, p.stale)
		next = p.answered(next, a, rand.Float64)
		limit.SetLimit(rate.Every(interval(a.decoding)))
	}
}

// read makes the planned query, unless the audit finds meanwhile that the agent's view
// is stale.
func (w *watch) read(ctx context.Context, next plan) (a answer, stale bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		a, err = w.agent.watchRead(ctx, w.query, next)
	}()
	select {
	case <-done:
		return a, false, err
	case <-w.stale:
		cancel()
		<-done
		return answer{}, true, nil
	}
}

// report publishes a set as it was judged.
func (w *watch) report(set decoded, doubt error, stale bool) {
	w.believe(set.instances, doubt == nil && !stale)
	if stale {
		set.problems = append(slices.Clip(set.problems), discovery.Problem{
			Instance: w.query.Service, What: "the agent's view is stale: the leader is asked in its place until they agree",
		})
	}
	if doubt != nil {
		doubt = fmt.Errorf("discovery/consul: watch %q: %w", w.query.Service, doubt)
	}
	w.publish(snapshot(set, w.query.Accept, doubt))
}

// believe notes the view of the agent, of which the audit asks, and whether it counts.
func (w *watch) believe(view []discovery.Instance, trust bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.view, w.trust = view, trust
}

// trusted returns the view of the agent, and whether it is taken for the truth.
func (w *watch) trusted() ([]discovery.Instance, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.view, w.trust
}

// pause waits for d and reports whether ctx is still alive.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
