package surecall

import (
	"net/http"
	"slices"

	"github.com/surecall/surecall/status"
)

// StatusHandler serves a page that shows live what this client holds of its service: its
// source, its instances and why each is in its state, calls that went wrong, events, limits
// and policies. JSON, Prometheus' text and the stream of changes are beside it: see
// [status.Handler].
//
// It answers requests for an IP address or localhost. Whoever reaches it can read it: listen
// on loopback, or put authentication before it. For other names there is
// [status.WithHosts]:
//
//	status.Handler(surecall.Statuses(client), status.WithHosts("ops.example.com"))
func (c *Client) StatusHandler() http.Handler { return StatusHandler(c) }

// StatusHandler serves one page for all of clients, those of a process say, in their order:
// see [Client.StatusHandler].
func StatusHandler(clients ...*Client) http.Handler { return status.Handler(Statuses(clients...)) }

// Statuses returns what reads the status of each of clients, for [status.Handler] and what
// else shows it. It is safe for concurrent use.
func Statuses(clients ...*Client) func() []status.Status {
	clients = slices.Clone(clients)
	return func() []status.Status {
		all := make([]status.Status, len(clients))
		for n, c := range clients {
			all[n] = c.Status()
		}
		return all
	}
}
