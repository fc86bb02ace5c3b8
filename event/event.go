package event

import "time"

// Event is one of the structs of this package. The set is closed, so that a type
// switch over it can be checked.
type Event interface{ event() }

// Handler receives events. It is called on the goroutine where the event happened, often
// that of a call or of gRPC itself: it must return fast, must not block, must not call
// Close, Update or a Set…Mode of the client that it hears of, and must be safe for
// concurrent use.
type Handler func(Event)

// Tee returns a handler that hands each event to all of handlers, in order. nil
// handlers are left out; with none left Tee returns nil.
func Tee(handlers ...Handler) Handler {
	var live []Handler
	for _, h := range handlers {
		if h != nil {
			live = append(live, h)
		}
	}
	switch len(live) {
	case 0:
		return nil
	case 1:
		return live[0]
	}
	return func(e Event) {
		for _, h := range live {
			h(e)
		}
	}
}

// State is what a client holds an instance to be.
type State string

// The states of an instance. While there is one that may be picked, no other is.
const (
	Standby    State = "standby"     // of a lower priority, and not connected: others suffice
	Connecting State = "connecting"  // no connection yet, or a new one is being made
	Eligible   State = "eligible"    // may be picked
	Absent     State = "absent"      // gone from a doubted snapshot, but its connection lives: may be picked
	Overruled  State = "overruled"   // would be ejected, but too many already are: may be picked
	Suspect    State = "suspect"     // calls wait on it and nothing comes back
	Ejected    State = "ejected"     // its breaker is open, or it did not answer a probe
	NotServing State = "not serving" // its health service says so
	Draining   State = "draining"    // it said that it is leaving
	Failed     State = "failed"      // its connection was lost or refused
)

// InstanceAdded: the source reported an instance that was not in the fleet.
type InstanceAdded struct {
	Service  string
	Instance string // ID
	Address  string
	Weight   int
}

// InstanceRemoved: an instance left the fleet.
type InstanceRemoved struct {
	Service  string
	Instance string
	Address  string
	Why      string
}

// InstanceChanged: an instance went from one state to another.
type InstanceChanged struct {
	Service  string
	Instance string
	Address  string
	From, To State
	Why      string
}

// HealthUnknown: an instance's health service cannot be watched: there is none, or it
// refuses. The instance counts as serving. Told once for each instance.
type HealthUnknown struct {
	Service  string
	Instance string
	Err      error
}

// InstanceProblem: a registration was skipped or mended because of what is in it.
type InstanceProblem struct {
	Service  string
	Instance string
	What     string
}

// AttemptRetried: an attempt failed and another follows.
type AttemptRetried struct {
	Service  string
	Method   string // full method, "/orders.v1.Orders/Get"
	Instance string // of the attempt that failed; empty if none was picked
	Attempt  int    // the attempt that failed, from 1
	Cause    error
	Wait     time.Duration // until the next attempt starts
}

// Denial says why a failed attempt was not followed by another.
type Denial string

// The reasons to deny a retry.
const (
	NotIdempotent  Denial = "not idempotent" // it may have executed and must not run twice
	BudgetEmpty    Denial = "budget empty"   // retries would be too large a share of the calls
	AttemptsSpent  Denial = "attempts spent" // the policy's number of attempts is reached
	NoTimeLeft     Denial = "no time left"   // another attempt could not end before the deadline
	ChainStop      Denial = "chain stop"     // the call is itself made under a retried attempt
	ServiceDown    Denial = "service down"   // the service breaker is open
	ServerPushback Denial = "server said no" // the server asked not to be retried
	NotKept        Denial = "not kept"       // what the stream has sent is not all there to be sent again
)

// AttemptHedged: an attempt takes long, and another was sent beside it.
type AttemptHedged struct {
	Service  string
	Method   string
	Instance string        // of the attempt that takes long; empty if none was picked yet
	Attempt  int           // the new attempt, from 2
	After    time.Duration // since the call's first attempt began
}

// RetryDenied: an attempt failed in a way that a retry might have mended, and no other
// follows; or it is overdue and goes on, because none could be paid for.
type RetryDenied struct {
	Service  string
	Method   string
	Instance string
	Attempt  int
	Why      Denial
	Cause    error
}

// CallRejected: surecall refused a call before anything was sent.
type CallRejected struct {
	Service string
	Method  string
	Err     error // the *surecall.Rejection
}

// CallServedSecondBest: a call was answered, but not by an instance of its service.
type CallServedSecondBest struct {
	Service string
	Method  string
	By      SecondBest
	Age     time.Duration // of an answer from a cache
	Cause   error         // what the instances' answer was; nil: they were not asked
}

// SecondBest is who answered a call in place of an instance of its service.
type SecondBest string

// The second best.
const (
	FreshCache SecondBest = "fresh cache" // an answer young enough not to ask again
	StaleCache SecondBest = "stale cache" // an older one, after all else failed
	Alternate  SecondBest = "alternate"   // another service or datacenter
	Fallback   SecondBest = "fallback"    // the caller's own function
)

// NotificationDropped: a one-way notification was not sent, or not answered with success.
type NotificationDropped struct {
	Service string
	Method  string // empty if it was never sent
	Err     error  // why
}

// LimitNear: 80 % of a limit of concurrency are in use. It is told once, until use has
// fallen well below that.
type LimitNear struct {
	Service  string
	Scope    string // "client", "streams", the pattern of ForMethod, or an instance's ID
	InFlight int    // attempts, or streams
	Limit    int    // of them
}

// InstanceYields: an instance said that it has too much to do, and gets a smaller share
// of the calls.
type InstanceYields struct {
	Service  string
	Instance string
	Share    float64       // of what it would get, 0 to 1
	For      time.Duration // it gets none at all for that long: it asked for it
}

// ServiceBreakerChanged: the breaker of the whole service opened or closed.
type ServiceBreakerChanged struct {
	Service string
	Open    bool
	DryRun  bool // it only would have
	Why     string
}

// MethodBreakerChanged: the breaker of a method opened, closed or lets trials through.
type MethodBreakerChanged struct {
	Service  string
	Method   string
	From, To string // "closed", "open", "half-open"
	DryRun   bool   // it only would have
	Why      string
}

// InstanceWouldChange: the instance's breaker, which runs dry, would have ejected the
// instance or taken it back. In shadow mode also: the instance would have gone from one
// State to another.
type InstanceWouldChange struct {
	Service  string
	Instance string
	Address  string
	From, To string // "closed", "open", "half-open"; or a State
	Why      string
}

// PriorityChanged: calls go to instances of another priority. 0 is the first choice.
type PriorityChanged struct {
	Service  string
	From, To int
	Why      string
}

// SourceDegraded: the source has no answer, or one that is doubted. What it last
// knew goes on serving.
type SourceDegraded struct {
	Service    string
	Datacenter string // empty: the one that the source asks by itself
	Err        error
	Known      int // instances that go on serving
}

// SourceRecovered: the source answers again and is believed.
type SourceRecovered struct {
	Service    string
	Datacenter string
	After      time.Duration // since SourceDegraded
}

// SnapshotProblem: the snapshot on disk cannot be written, or could not be used when it
// was needed. It is told once, until something else is wrong with it.
type SnapshotProblem struct {
	Service    string
	Datacenter string
	Err        error
}

// RegistrationDegraded: a server's own registration cannot be kept alive; unless that
// ends, callers will find it no more once its time to live is over.
type RegistrationDegraded struct {
	Service  string
	Instance string
	Err      error
}

// RegistrationRecovered: the registration is kept alive again.
type RegistrationRecovered struct {
	Service  string
	Instance string
	After    time.Duration // since RegistrationDegraded
}

// LifecycleStep: a server has done one step of its start or of its leaving.
type LifecycleStep struct {
	Service string
	Step    string // as the log of package lifecycle names it
	Took    time.Duration
	Err     error // what kept the step from ending as it should; nil if nothing did
}

// ProtectionSwitched: a protection was switched off, or on again.
type ProtectionSwitched struct {
	Service    string
	Protection string // "breaker", "retry" … as surecall.Protection names it
	Off        bool
	By         string // who wants it off, or wanted: "code", "environment", or the name of a document
}

// PolicyApplied: a policy document is in force; or its source, of which something else was
// told meanwhile, has again what is in force.
type PolicyApplied struct {
	Service string
	Layer   string // "owner", "caller"
	Source  string // where it comes from
}

// PolicyRefused: a policy document cannot be used, is gone, or its source has no answer. What
// was applied last stands. Told once for each reason.
type PolicyRefused struct {
	Service string
	Layer   string
	Source  string
	Err     error
}

// ConfigWarning: the configuration is valid but is likely not what was meant.
type ConfigWarning struct {
	Service string
	What    string
}

func (InstanceAdded) event()         {}
func (InstanceRemoved) event()       {}
func (InstanceChanged) event()       {}
func (HealthUnknown) event()         {}
func (InstanceProblem) event()       {}
func (AttemptRetried) event()        {}
func (AttemptHedged) event()         {}
func (RetryDenied) event()           {}
func (CallRejected) event()          {}
func (CallServedSecondBest) event()  {}
func (NotificationDropped) event()   {}
func (LimitNear) event()             {}
func (InstanceYields) event()        {}
func (MethodBreakerChanged) event()  {}
func (InstanceWouldChange) event()   {}
func (ServiceBreakerChanged) event() {}
func (PriorityChanged) event()       {}
func (SourceDegraded) event()        {}
func (SourceRecovered) event()       {}
func (SnapshotProblem) event()       {}
func (RegistrationDegraded) event()  {}
func (RegistrationRecovered) event() {}
func (LifecycleStep) event()         {}
func (ProtectionSwitched) event()    {}
func (PolicyApplied) event()         {}
func (PolicyRefused) event()         {}
func (ConfigWarning) event()         {}
