package consul

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/surecall/surecall/discovery"
)

// An agent answers from a view of its own, which a server feeds over a stream. When that
// server hangs the stream stays open and silent, and nothing in the agent's answers tells.
// So the leader is asked now and then, and its word counts if the view still differs from
// it after a second look: a change that is merely on its way has arrived by then.
const (
	auditEvery = 5 * time.Minute // and up to as much again, at random
	auditAgain = 2 * time.Second // between the two looks
)

// audit compares the view with the leader until ctx ends. Its errors say nothing about
// the watch, which goes on meanwhile.
func (w *watch) audit(ctx context.Context) {
	for pause(ctx, auditEvery+time.Duration(rand.Float64()*float64(auditEvery))) {
		before := w.look(ctx)
		if len(before) == 0 || !pause(ctx, auditAgain) || !persists(before, w.look(ctx)) {
			continue
		}
		select {
		case w.stale <- struct{}{}:
		case <-ctx.Done():
		}
	}
}

// look returns how the view differs from what the leader says; not at all if they cannot
// be compared.
func (w *watch) look(ctx context.Context) map[string]*discovery.Instance {
	if _, ok := w.trusted(); !ok {
		return nil // nobody takes it for the truth
	}
	leader, err := w.agent.leaderRead(ctx, w.query)
	view, ok := w.trusted() // as it is after the leader's answer, so that it is no older
	if err != nil || !ok || leader.filtered || !leader.led() {
		return nil
	}
	return differences(view, leader.instances)
}

// differences returns by ID the instances in which the view is not what the leader says:
// the leader's word on them, which is nil for those it does not have.
func differences(view, leader []discovery.Instance) map[string]*discovery.Instance {
	differ := make(map[string]*discovery.Instance)
	seen := make(map[string]*discovery.Instance, len(view))
	for i := range view {
		seen[view[i].ID] = &view[i]
		differ[view[i].ID] = nil
	}
	for i := range leader {
		said := &leader[i]
		if viewed := seen[said.ID]; viewed != nil && sameInstance(*viewed, *said) {
			delete(differ, said.ID)
		} else {
			differ[said.ID] = said
		}
	}
	return differ
}

// persists reports whether some difference is in both, with the leader saying the same.
func persists(before, after map[string]*discovery.Instance) bool {
	for id, said := range after {
		was, ok := before[id]
		if ok && (said == nil) == (was == nil) && (said == nil || sameInstance(*said, *was)) {
			return true
		}
	}
	return false
}
