package surecall

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// ErrNotifyFull is matched by the error of a [Notify] for which there was no room. Its
// code is RESOURCE_EXHAUSTED.
var ErrNotifyFull = errors.New("surecall: too many notifications are pending")

// NotifyPolicy bounds what notifications may hold on to. Its zero value is the default.
type NotifyPolicy struct {
	// MaxPending is how many may be pending, those being sent included. Default 1,024
	// (Envoy's max_pending_requests).
	MaxPending int
	// MaxBytes is how large their requests may be together, as they are on the wire. In
	// memory a request is a few times larger. Default 16 MiB: 1,024 of 16 KiB.
	MaxBytes int
	// MaxInFlight is how many are sent at a time, each by a goroutine that ends when
	// nothing is pending. Default 16: it sends 1,600 per second to instances that answer
	// in 10 ms.
	MaxInFlight int
}

// The defaults of [NotifyPolicy].
const (
	DefaultNotifyPending  = 1024
	DefaultNotifyBytes    = 16 << 20
	DefaultNotifyInFlight = 16
)

// Validate reports everything that is wrong with p, joined.
func (p NotifyPolicy) Validate() error {
	var errs []error
	for _, f := range []struct {
		name             string
		value, byDefault int
	}{
		{"MaxPending", p.MaxPending, DefaultNotifyPending},
		{"MaxBytes", p.MaxBytes, DefaultNotifyBytes},
		{"MaxInFlight", p.MaxInFlight, DefaultNotifyInFlight},
	} {
		if f.value < 0 {
			errs = append(errs, fmt.Errorf("surecall: NotifyPolicy.%s %d: want 0 (means %d) or more", f.name, f.value, f.byDefault))
		}
	}
	return errors.Join(errs...)
}

func (p NotifyPolicy) withDefaults() NotifyPolicy {
	if p.MaxPending == 0 {
		p.MaxPending = DefaultNotifyPending
	}
	if p.MaxBytes == 0 {
		p.MaxBytes = DefaultNotifyBytes
	}
	if p.MaxInFlight == 0 {
		p.MaxInFlight = DefaultNotifyInFlight
	}
	return p
}

// WithNotifications bounds the client's notifications by p. By default it is
// NotifyPolicy{}. Updated, it applies to those that follow.
func WithNotifications(p NotifyPolicy) LiveOption {
	return live(func(s *settings) {
		s.notify = p
		s.fail(p.Validate())
	})
}

// Notify calls method, of a stub of client, and does not wait for it: it returns nil once
// the notification is accepted. It never blocks. One that finds no room, by
// [WithNotifications], is dropped: the error matches [ErrNotifyFull], the drop is counted
// in [Client.Notifications] and told as event.NotificationDropped. So is the end of one
// that was accepted and failed: nobody else hears of it.
//
// The request is copied; the caller may use it again. It is sent as any other call, with
// all that protects a call and no more: it may be lost, and the order is not kept. The
// values of ctx (metadata, priority, a trace) go along; its end and its deadline do not,
// since a handler's context ends when the handler has answered. The method's call
// deadline bounds it instead, from when it is sent, and [DefaultCallDeadline] where there is
// none: else the few that are sent at a time could wait for ever. Call options that fill in
// a variable (grpc.Header, Trailer, Peer, [Trace]) are an error: nobody could tell when to
// read it. What grpc.OnFinish is given runs beside whatever else the caller does, and beside
// itself if it is given to several.
//
// Before a program exits, [Client.Flush] waits for what is pending; [Client.Close] drops
// it, and what comes after it, with the code CANCELED.
func Notify[Req proto.Message, Reply any](
	ctx context.Context, client *Client, method UnaryMethod[Req, Reply], req Req, opts ...grpc.CallOption,
) error {
	if err := fillsNothing("Notify", opts); err != nil {
		return err
	}
	opts = slices.Clone(opts)
	return client.notifier.accept(&notification{
		ctx: context.WithoutCancel(ctx), request: req, bytes: proto.Size(req),
		call: func(ctx context.Context, request proto.Message, more ...grpc.CallOption) error {
			_, err := method(ctx, request.(Req), with(opts, more...)...)
			return err
		},
	})
}

// NotificationCounts is what became of a client's notifications since it was made.
type NotificationCounts struct {
	Pending int    // accepted and not over
	Sent    uint64 // answered with success
	Failed  uint64 // ended with an error
	Dropped uint64 // never sent: no room, or the client was closed
}

// Notifications returns what became of the client's notifications.
func (c *Client) Notifications() NotificationCounts { return c.notifier.read() }

// Flush returns nil once no notification is pending, or else the end of ctx. Those that
// are accepted meanwhile are waited for, too.
func (c *Client) Flush(ctx context.Context) error { return c.notifier.flush(ctx) }
