// Package event holds what surecall tells the outside about itself: one struct per
// kind of event, and the [Handler] that receives them.
//
// Events say what changed or was decided, never what went as usual: a call that
// succeeds at its first attempt makes none. A client without a handler builds no
// event at all.
//
// # In the log
//
// [Slog] makes a line of each event. Storms are sampled, so that a log tells of an
// outage and does not become one: of each kind of event at one level, for each service, at most 10
// lines are written in a second; one more line then says how many were left out.
//
//	level  events
//	Error  ServiceBreakerChanged to open, SourceDegraded with nothing known,
//	       RegistrationDegraded
//	Warn   CallRejected, RetryDenied, SourceDegraded, InstanceProblem, ConfigWarning,
//	       InstanceChanged to ejected, overruled or failed,
//	       LifecycleStep that did not end as it should
//	Info   InstanceAdded, InstanceRemoved, InstanceChanged to eligible or absent,
//	       AttemptRetried, SourceRecovered, RegistrationRecovered,
//	       ServiceBreakerChanged to closed, LifecycleStep
//	Debug  InstanceChanged to connecting
package event
