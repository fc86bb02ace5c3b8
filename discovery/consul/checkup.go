package consul

import (
	"context"
	"fmt"
	"time"

	"github.com/surecall/surecall/discovery"
)

// checkup asks a server for its own health, in one call at a time. A call that does not
// return in time stands for a server that hangs: it counts as critical, and until it has
// returned none is begun.
type checkup struct {
	health func(context.Context) (discovery.Health, string) // nil: always passing
	within time.Duration
	out    chan report // of the call that has not returned; nil: none
}

type report struct {
	health discovery.Health
	note   string
}

// ask returns the health to report and why. Calls must not overlap. A call that its
// context ends has a tenth of its time more to say so itself.
func (c *checkup) ask(ctx context.Context) (discovery.Health, string) {
	if c.health == nil {
		return discovery.Passing, ""
	}
	timer := time.NewTimer(c.within + c.within/10)
	defer timer.Stop()
	late := c.out != nil // what it says is about a time long past
	for {
		if c.out == nil {
			c.begin(ctx)
		}
		select {
		case r := <-c.out:
			c.out = nil
			if !late {
				return r.health, r.note
			}
			late = false
		case <-timer.C:
			return discovery.Critical, fmt.Sprintf("the server's own health check gives no answer within %v", c.within)
		case <-ctx.Done():
			return discovery.Critical, "the server's own health check was not awaited"
		}
	}
}

func (c *checkup) begin(ctx context.Context) {
	out := make(chan report, 1)
	c.out = out
	ctx, cancel := context.WithTimeout(ctx, c.within)
	go func() {
		defer cancel()
		h, note := c.health(ctx)
		out <- report{h, note}
	}()
}

// wait returns when no call is out any more.
func (c *checkup) wait() {
	if c.out != nil {
		<-c.out
		c.out = nil
	}
}
