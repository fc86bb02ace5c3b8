package consul

import (
	"time"

	"github.com/surecall/surecall/event"
)

// outage is a time in which a registration cannot be kept alive. It tells its begin
// and its end, once each.
type outage struct {
	since    time.Time
	failures int // in a row
	refusals int // in a row up to the last failure
}

func (o *outage) begin(l *lease, err error) {
	o.failures++
	o.refusals++
	if !permanent(err) {
		o.refusals = 0
	}
	if o.failures > 1 {
		return
	}
	o.since = time.Now()
	if l.events != nil {
		l.events(event.RegistrationDegraded{Service: l.service, Instance: l.id, Err: err})
	}
}

func (o *outage) end(l *lease) {
	if o.failures == 0 {
		return
	}
	o.failures, o.refusals = 0, 0
	if l.events != nil {
		l.events(event.RegistrationRecovered{
			Service: l.service, Instance: l.id, After: time.Since(o.since),
		})
	}
}
