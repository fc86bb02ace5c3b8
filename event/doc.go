// Package event holds what surecall tells the outside about itself: one struct per
// kind of event, and the [Handler] that receives them.
//
// Events say what changed or was decided, never what went as usual: a call that
// succeeds at its first attempt makes none. A client without a handler builds no
// event at all.
package event
