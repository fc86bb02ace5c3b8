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

// publish hands s to the users unless it is what they have.
func (w *watch) publish(s discovery.Snapshot) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s.Err == nil {
		w.answered = time.Now()
	}
	if w.seq > 0 && sameSnapshot(w.latest, s) {
		return
	}
	w.seq++
	w.latest = s
	if s.Err == nil {
		w.good, w.goodSeq = s, w.seq
	}
	close(w.changed)
	w.changed = make(chan struct{})
}

// lastAnswer returns when the agent last answered; zero means never.
func (w *watch) lastAnswer() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.answered
}

// serve hands snapshots to one user until ctx or closed ends.
func (w *watch) serve(ctx context.Context, closed <-chan struct{}, update func(discovery.Snapshot)) error {
	var seen uint64
	for {
		s, seq, changed := w.after(seen)
		if seq == seen {
			select {
			case <-changed:
				continue
			case <-ctx.Done():
			case <-closed:
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		select {
		case <-closed:
			return errClosed
		default:
		}
		update(s)
		seen = seq
	}
}

// after returns what a user who has seen number seen should see next: the latest
// snapshot. If that is an error and the user lacks the good one before it, because it
// joined late or is slow, that one comes first, doubted for the error's reason.
func (w *watch) after(seen uint64) (discovery.Snapshot, uint64, <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.latest.Err != nil && w.goodSeq > seen {
		s := w.good
		s.Doubt = w.latest.Err
		return s, w.goodSeq, w.changed
	}
	return w.latest, w.seq, w.changed
}

// sameSnapshot compares what users see. Instances are sorted, so order is no difference.
func sameSnapshot(a, b discovery.Snapshot) bool {
	return text(a.Err) == text(b.Err) && text(a.Doubt) == text(b.Doubt) &&
		sameSet(a.Instances, b.Instances) && slices.Equal(a.Problems, b.Problems)
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
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
