package consul

import (
	"context"
	"time"

	"github.com/surecall/surecall/discovery"
)

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
