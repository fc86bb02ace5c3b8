package admin

import "context"

// Control is the server that the endpoint speaks for. Its methods are called
// concurrently.
type Control interface {
	// Live says why the process is of no more use; nil while it does its work.
	Live() error
	// Ready says why no calls should come; nil while they should.
	Ready() error
	// Offline begins to leave, or joins a leaving that has begun, and returns once no
	// call is in flight or ctx ends. The end of ctx ends only the waiting.
	Offline(ctx context.Context) error
	// Online takes calls again; an error says why it is too late.
	Online(ctx context.Context) error
	// InFlight counts what runs now.
	InFlight() InFlight
}

// InFlight is what runs on a server at one moment, without health checks, reflection
// and replays.
type InFlight struct {
	Unary    int  `json:"unary"`    // unary calls
	Streams  int  `json:"streams"`  // streams
	Draining bool `json:"draining"` // whether the server is leaving
}

// Left is the answer to /offline.
type Left struct {
	State string  `json:"state"`   // "offline"
	Took  float64 `json:"seconds"` // how long this request waited for it
}
