package resolver

import (
	"time"

	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/resolver/internal/disk"
)

// judge tells when the source begins and ends not to be trusted.
func (r *aggregate) judge(w *watch, now time.Time) {
	if !w.settled() {
		return
	}
	service, dc := w.query.Service, w.query.Datacenter
	switch {
	case w.doubt != nil && w.degraded.IsZero():
		w.degraded = now
		r.emit(event.SourceDegraded{Service: service, Datacenter: dc, Err: w.trouble(now), Known: w.members.size()})
	case w.doubt == nil && !w.degraded.IsZero():
		after := now.Sub(w.degraded)
		w.degraded = time.Time{}
		r.emit(event.SourceRecovered{Service: service, Datacenter: dc, After: after})
	}
}

func (r *aggregate) emit(e event.Event) {
	if r.config.Events != nil {
		r.config.Events(e)
	}
}

// report tells of registrations that were skipped or mended, each time the source
// reports them anew.
func (r *aggregate) report(problems []discovery.Problem) {
	for _, p := range problems {
		r.emit(event.InstanceProblem{Service: r.config.Query.Service, Instance: p.Instance, What: p.What})
	}
}

// unsaved is told by the keeper.
func (r *aggregate) unsaved(id disk.Identity, err error) {
	r.emit(event.SnapshotProblem{Service: id.Query.Service, Datacenter: id.Query.Datacenter, Err: err})
}
