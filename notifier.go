package surecall

import (
	"context"
	"fmt"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/surecall/surecall/event"
)

// notification is one call that nobody waits for.
type notification struct {
	ctx     context.Context // the caller's, without its end
	request proto.Message   // the caller's until it is accepted, then a copy
	bytes   int
	call    func(ctx context.Context, request proto.Message, opts ...grpc.CallOption) error
}

// notifier sends a client's notifications: the oldest first, by goroutines that begin on
// demand and end when nothing waits.
type notifier struct {
	core    *core
	life    context.Context // ended by close
	end     context.CancelFunc
	senders sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	waiting []*notification
	sending int // senders that run
	bytes   int // of all that are pending
	counts  NotificationCounts
	drained chan struct{} // closed when nothing is pending; nil: nobody waits for it
}

// notifyOption marks the call of a notification.
type notifyOption struct{ grpc.EmptyCallOption }

func newNotifier(c *core) *notifier {
	life, end := context.WithCancel(context.Background())
	return &notifier{core: c, life: life, end: end}
}

// accept takes n, or says why not. Its room is taken before it is copied, so that a storm
// of drops costs no copies, and the copy is made with no lock held.
func (q *notifier) accept(n *notification) error {
	if err := q.reserve(n); err != nil {
		q.tell("", err)
		return err
	}
	n.request = proto.Clone(n.request)
	q.mu.Lock()
	if q.closed {
		q.counts.Dropped++
		q.release(n)
		q.mu.Unlock()
		q.tell("", q.errClosed())
		return q.errClosed()
	}
	defer q.mu.Unlock()
	q.waiting = append(q.waiting, n)
	if q.sending < q.policy().MaxInFlight {
		q.sending++
		q.senders.Go(q.send)
	}
	return nil
}

func (q *notifier) reserve(n *notification) error {
	p := q.policy()
	q.mu.Lock()
	defer q.mu.Unlock()
	var err error
	switch {
	case q.closed:
		err = q.errClosed()
	case q.counts.Pending >= p.MaxPending:
		err = full(n, fmt.Sprintf("%d are pending: want fewer than %d", q.counts.Pending, p.MaxPending))
	case n.bytes > p.MaxBytes-q.bytes:
		err = full(n, fmt.Sprintf("%d bytes, beside %d that are pending: want at most %d", n.bytes, q.bytes, p.MaxBytes))
	default:
		q.counts.Pending++
		q.bytes += n.bytes
		return nil
	}
	q.counts.Dropped++
	return err
}

// full is the error for want of room. The method of what was not sent is not known: its
// request is named instead.
func full(n *notification, why string) error {
	name := n.request.ProtoReflect().Descriptor().FullName()
	return codedError{fmt.Errorf("%w: %s: %s", ErrNotifyFull, name, why), codes.ResourceExhausted}
}

func (q *notifier) errClosed() error {
	return status.Errorf(codes.Canceled, "surecall: client of %q is closed: notification dropped", q.core.service)
}

// send is a sender: it ends when nothing waits, or when there are too many of it. If a call
// ends it, with runtime.Goexit, another takes its place.
func (q *notifier) send() {
	done := false
	defer func() {
		if !done {
			q.senders.Go(q.send)
		}
	}()
	for {
		most := q.policy().MaxInFlight
		q.mu.Lock()
		if len(q.waiting) == 0 || q.sending > most {
			q.sending--
			q.mu.Unlock()
			done = true
			return
		}
		n := q.waiting[0]
		q.waiting[0] = nil
		q.waiting = q.waiting[1:]
		q.mu.Unlock()
		q.deliver(n)
	}
}

// deliver makes the call, until it ends or the client is closed.
func (q *notifier) deliver(n *notification) {
	ctx, cancel := context.WithCancel(n.ctx)
	defer cancel()
	defer context.AfterFunc(q.life, cancel)()
	var trace CallTrace
	err := errNoReturn
	defer func() { q.settle(n, trace.Method, err) }() // also if the call does not come back
	err = n.call(ctx, n.request, Trace(&trace), notifyOption{})
}

// settle counts n, which is over, and tells of it if it failed.
func (q *notifier) settle(n *notification, method string, err error) {
	q.mu.Lock()
	if err != nil {
		q.counts.Failed++
	} else {
		q.counts.Sent++
	}
	q.release(n)
	q.mu.Unlock()
	if err != nil {
		q.tell(method, err)
	}
}

// release gives back the room of one that is no longer pending. Requires mu.
func (q *notifier) release(n *notification) {
	q.counts.Pending--
	q.bytes -= n.bytes
	if q.counts.Pending == 0 && q.drained != nil {
		close(q.drained)
		q.drained = nil
	}
}

func (q *notifier) read() NotificationCounts {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.counts
}

func (q *notifier) flush(ctx context.Context) error {
	q.mu.Lock()
	if q.counts.Pending == 0 {
		q.mu.Unlock()
		return nil
	}
	if q.drained == nil {
		q.drained = make(chan struct{})
	}
	drained := q.drained
	q.mu.Unlock()
	select {
	case <-drained:
		return nil
	case <-ctx.Done():
		return ended(ctx, fmt.Sprintf("Flush: %d notifications of %q are pending", q.read().Pending, q.core.service))
	}
}

// close drops what waits, ends what is being sent, and returns when no sender runs.
func (q *notifier) close() {
	q.mu.Lock()
	q.closed = true
	dropped := q.waiting
	q.waiting = nil
	q.counts.Dropped += uint64(len(dropped))
	for _, n := range dropped {
		q.release(n)
	}
	q.mu.Unlock()
	q.end()
	for range dropped {
		q.tell("", q.errClosed())
	}
	q.senders.Wait()
}

func (q *notifier) tell(method string, err error) {
	q.core.emit(event.NotificationDropped{Service: q.core.service, Method: method, Err: err})
}

func (q *notifier) policy() NotifyPolicy { return q.core.state.Load().settings.notify.withDefaults() }
