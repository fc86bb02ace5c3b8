package surecall

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"

	"github.com/surecall/surecall/event"
)

// Result is what one instance made of a [Broadcast].
type Result[Reply any] struct {
	Instance string // ID
	Address  string
	State    event.State   // when the broadcast began
	Reply    Reply         // if Err is nil
	Err      error         // matches ErrNoInstance if the instance was not reached: nothing was sent
	Took     time.Duration // of its call, retries to it included; 0: nothing was sent
}

// Broadcast calls method, of a stub of client, once on every eligible instance: to have
// all reload their configuration, or drop what they have cached. It returns when each has
// ended, with one result for each instance, by ID. The error is nil only if all of them
// answered with success; else it joins what the instances said, each with its ID, and it
// is up to the caller to go through the results: Broadcast undoes nothing.
//
// An instance that is ejected, suspect, not serving, draining or failed is not called. It
// has a result that says so, because it may be back a moment later without having heard:
// [Pin] reaches it by hand, if it has a connection. One that is being connected is waited
// for while it is, and with grpc.WaitForReady(true) a failed one too. One that leaves meanwhile is
// reported as not reached; one that joins is not called. Those on standby, of a lower
// priority, are left out.
//
// At most 16 calls are under way at a time, or as many as [Parallel] among opts says.
// Each is a call of its own, pinned to its instance, with all that protects a call: its
// call deadline begins when it does, and an idempotent method is tried again on the same
// instance. The end of ctx ends them all. Before the client's first connection, Broadcast
// connects and waits as a call would. With nobody to call, the error matches
// [ErrNoInstance].
//
// The request is shared, and must not be changed before Broadcast returns. Call options
// that fill in a variable (grpc.Header, Trailer, Peer, [Trace]) are an error: all the
// calls would write to it at once. What grpc.OnFinish is given is called by each of them,
// several at a time.
func Broadcast[Req, Reply any](
	ctx context.Context, client *Client, method UnaryMethod[Req, Reply], req Req, opts ...grpc.CallOption,
) ([]Result[Reply], error) {
	parallel, err := parallelOf(opts)
	if err = errors.Join(err, fillsNothing("Broadcast", opts)); err != nil {
		return nil, err
	}
	var asked asked
	asked.read(opts)
	instances, err := client.audience(ctx, asked.waits)
	if err != nil {
		return nil, err
	}
	results := make([]Result[Reply], len(instances))
	nobody := true
	var calls sync.WaitGroup
	slots := make(chan struct{}, parallel)
	for n, i := range instances {
		r := &results[n]
		*r = Result[Reply]{Instance: i.ID, Address: i.Address, State: i.State}
		if !reachable(i.State, asked.waits) {
			r.Err = notCalled(i)
			continue
		}
		nobody = false
		var trace CallTrace
		opts := with(opts, Trace(&trace))
		slots <- struct{}{}
		calls.Go(func() {
			defer func() { <-slots }()
			began := time.Now()
			r.Reply, r.Err = method(Pin(ctx, i.ID), req, opts...)
			if r.Took = time.Since(began); r.Err == nil {
				r.Err = trace.strays(i)
			}
		})
	}
	calls.Wait()
	if nobody {
		return results, client.nobody()
	}
	return results, failures(results)
}

// Parallel lets n calls of a [Broadcast] be under way at a time; by default it is 16. Other
// calls it means nothing to.
func Parallel(n int) grpc.CallOption { return parallelOption{n: n} }

// defaultParallel keeps a broadcast to a thousand instances from being a burst of calls,
// which our own limits and the handlers' common backends would feel.
const defaultParallel = 16

type parallelOption struct {
	grpc.EmptyCallOption
	n int
}

func parallelOf(opts []grpc.CallOption) (int, error) {
	n := defaultParallel
	for _, o := range opts {
		if p, ok := o.(parallelOption); ok {
			n = p.n
		}
	}
	if n < 1 {
		return 0, fmt.Errorf("surecall: Parallel %d: want at least 1", n)
	}
	return n, nil
}

// audience returns the instances by ID, without those on standby, once the client has
// tried to connect: it waits as a call does, whose deadline is the client's if ctx has
// none.
func (c *Client) audience(ctx context.Context, waits bool) ([]InstanceStatus, error) {
	if d := c.core.state.Load().settings.base.deadline; d > 0 {
		if _, has := ctx.Deadline(); !has {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, d)
			defer cancel()
		}
	}
	state := c.conn.GetState()
	for state == connectivity.Idle || state == connectivity.Connecting {
		c.conn.Connect()
		if !c.conn.WaitForStateChange(ctx, state) {
			break
		}
		state = c.conn.GetState()
	}
	if state != connectivity.Ready && (waits || state != connectivity.TransientFailure) {
		if err := c.WaitReady(ctx); err != nil {
			return nil, err
		}
	}
	all := slices.DeleteFunc(c.Instances(), func(i InstanceStatus) bool { return i.State == event.Standby })
	slices.SortFunc(all, func(a, b InstanceStatus) int { return strings.Compare(a.ID, b.ID) })
	return all, nil
}

// reachable reports whether an instance in that state is called. While it is being
// connected, its pin waits.
func reachable(s event.State, waits bool) bool {
	switch s {
	case event.Eligible, event.Absent, event.Overruled, event.Connecting:
		return true
	default:
		return s == event.Failed && waits
	}
}

// notCalled says why an instance was not.
func notCalled(i InstanceStatus) error {
	return codedError{fmt.Errorf("%w: not called because it is %s: %s", ErrNoInstance, i.State, i.Why), codes.Unavailable}
}

// strays is the error of a reply that is not the instance's own.
func (t *CallTrace) strays(i InstanceStatus) error {
	switch {
	case t.Began.IsZero():
		return errors.New("surecall: Broadcast: answered by whatever the stub's connection chose: want a stub of the client")
	case t.SecondBest != "":
		return fmt.Errorf("surecall: Broadcast: answered by %s: want the instance itself", t.SecondBest)
	case !slices.ContainsFunc(t.Attempts, func(a AttemptTrace) bool { return a.Instance == i.ID && a.Address == i.Address }):
		return errors.New("surecall: Broadcast: answered by another instance")
	}
	return nil
}

// nobody is the rejection of a broadcast that has nobody to call.
func (c *Client) nobody() error {
	r := newRejection(ErrNoInstance, c.core.service, "", c.core.fleet.Refusal())
	if why := c.Source().Why; r.Known == 0 && r.LastErr == nil && why != "" {
		r.LastErr = errors.New(why)
	}
	return r
}

// failures joins the errors of results.
func failures[Reply any](results []Result[Reply]) error {
	var errs []error
	for _, r := range results {
		if r.Err != nil {
			errs = append(errs, fmt.Errorf("surecall: %q: %w", r.Instance, r.Err))
		}
	}
	return errors.Join(errs...)
}
