package surecall

import (
	"fmt"
	"strings"

	"github.com/surecall/surecall/breaker"
)

// SetInstanceMode decides by hand what becomes of an instance, by its ID:
// breaker.ForcedOpen ejects it until further notice, breaker.Disabled has its breaker
// decide nothing, and breaker.Automatic ends either and begins anew, closed. It holds for
// all incarnations of the ID and outlives [Client.Update]. An ID that is not in the fleet
// is an error.
func (c *Client) SetInstanceMode(id string, m breaker.Mode) error {
	return c.core.fleet.SetMode(id, m)
}

// SetServiceMode decides by hand about the service breaker: breaker.ForcedOpen rejects
// every call, without trials, breaker.Disabled lets every call pass, and
// breaker.Automatic ends either and begins anew, closed. It outlives [Client.Update], unless
// that takes the breaker away. A client without a service breaker is an error.
func (c *Client) SetServiceMode(m breaker.Mode) error {
	c.core.mu.Lock() // an Update carries modes over
	defer c.core.mu.Unlock()
	b := c.core.state.Load().keptService
	if b == nil {
		return fmt.Errorf("surecall: SetServiceMode %v: the client of %q has no service breaker", m, c.core.service)
	}
	b.SetMode(m)
	return nil
}

// SetMethodMode does for the breaker of a full method ("/orders.v1.Orders/Get") what
// SetServiceMode does for the service's. A method without a breaker is an error: see
// [WithMethodBreaker]. So is one that is neither linked nor called yet.
func (c *Client) SetMethodMode(method string, m breaker.Mode) error {
	if err := checkPattern(method); err != nil || strings.HasSuffix(method, "*") {
		return fmt.Errorf("surecall: SetMethodMode %q: want a full method, \"/package.Service/Method\"", method)
	}
	c.core.mu.Lock()
	defer c.core.mu.Unlock()
	methods := c.core.state.Load().methods
	if (*methods.table.Load())[method] == nil && linkedMethod(method) == nil {
		return fmt.Errorf("surecall: SetMethodMode %q: the method is neither linked nor was it called", method)
	}
	found := methods.find(method)
	switch {
	case found.kept.breaker == nil:
		return fmt.Errorf("surecall: SetMethodMode %q: the method has no breaker: want WithMethodBreaker", method)
	case (*methods.table.Load())[method] != found:
		return fmt.Errorf("surecall: SetMethodMode %q: the client knows %d methods already, and keeps no breaker for more", method, maxMethods)
	}
	found.kept.breaker.SetMode(m)
	return nil
}
