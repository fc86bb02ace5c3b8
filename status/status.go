package status

import "time"

// Status is what a client holds of its service at one moment.
type Status struct {
	Service string    `json:"service"`
	Target  string    `json:"target"` // as gRPC is told it: without a query, which may hold a token
	At      time.Time `json:"at"`
	Since   time.Time `json:"since"` // when the client was made: what counters count from

	Shadow   bool     `json:"shadow"`             // nothing that is computed is acted on
	Disabled []string `json:"disabled,omitempty"` // protections that are switched off

	Source    Source     `json:"source"`
	Instances []Instance `json:"instances"`
	Methods   []Method   `json:"methods"` // by name
	InFlight  int        `json:"in_flight"`
	Streams   int        `json:"streams"` // open ones

	ServiceBreaker *Breaker      `json:"service_breaker,omitempty"` // nil: off
	Budget         Budget        `json:"budget"`
	Limits         []Limit       `json:"limits,omitempty"`
	Notifications  Notifications `json:"notifications"`
	Policies       []Policy      `json:"policies,omitempty"` // the layers, the first one lowest
	Transitions    []Transition  `json:"transitions,omitempty"`

	Events   []Event   `json:"events,omitempty"`    // the newest first
	BadCalls []BadCall `json:"bad_calls,omitempty"` // the newest first
}

// Source is what the source last answered, all datacenters together.
type Source struct {
	Instances   int       `json:"instances"` // that it lists
	Absent      int       `json:"absent"`    // that serve on although a doubted answer lacks them
	At          time.Time `json:"at,omitzero"`
	Age         float64   `json:"age_seconds"`
	Answered    bool      `json:"answered"` // at least once
	Trusted     bool      `json:"trusted"`
	FromDisk    bool      `json:"from_disk"`
	Why         string    `json:"why,omitempty"`         // it is not trusted
	Datacenters []Source  `json:"datacenters,omitempty"` // each by itself, if there are several
	Datacenter  string    `json:"datacenter,omitempty"`
}

// Instance is one instance.
type Instance struct {
	ID          string   `json:"id"`
	Address     string   `json:"address"`
	Incarnation string   `json:"incarnation,omitempty"`
	Region      string   `json:"region,omitempty"`
	Zone        string   `json:"zone,omitempty"`
	Priority    int      `json:"priority"` // 0 is the first choice
	Weight      int      `json:"weight"`
	State       string   `json:"state"`    // an event.State
	Eligible    bool     `json:"eligible"` // may be picked
	Why         string   `json:"why,omitempty"`
	Mode        string   `json:"mode,omitempty"` // set by hand
	InFlight    int      `json:"in_flight"`
	Limit       int      `json:"limit,omitempty"` // of them; 0: none
	Streams     int      `json:"streams"`
	StreamLimit int      `json:"stream_limit,omitempty"`
	Latency     float64  `json:"latency_seconds"`        // the estimate that the choice goes by
	SlowStart   float64  `json:"slow_start"`             // the share it has reached, 1: all of it
	Share       float64  `json:"share"`                  // of that, since it had too much to do; 1: all
	Rest        float64  `json:"rest_seconds,omitempty"` // it asked to get none for so much longer
	Breaker     *Breaker `json:"breaker,omitempty"`      // nil: off
}

// Breaker is an instance's, a method's or the service's breaker.
type Breaker struct {
	State     string    `json:"state"`          // "closed", "open" or "half-open"
	Mode      string    `json:"mode,omitempty"` // set by hand
	DryRun    bool      `json:"dry_run,omitempty"`
	Overruled bool      `json:"overruled,omitempty"` // it would be open, but too many are
	Requests  int       `json:"requests"`            // in its window
	Failures  int       `json:"failures"`            // of them
	Run       int       `json:"run"`                 // of failures since the last success
	Ejections int       `json:"ejections,omitempty"`
	Until     time.Time `json:"until,omitzero"` // an open one lets a trial pass then
}

// Method is what was counted and learned of one method. Calls count when they end.
type Method struct {
	Name       string            `json:"name"` // "/orders.v1.Orders/Get"
	Idempotent bool              `json:"idempotent"`
	Deadline   float64           `json:"deadline_seconds,omitempty"` // 0: none
	Calls      map[string]uint64 `json:"calls"`                      // by status code, "OK"
	Attempts   uint64            `json:"attempts"`                   // of all calls
	Retries    map[string]uint64 `json:"retries,omitempty"`          // by how the attempt before failed: a code, "attempt timeout", "hang" or "unwanted reply"
	Denied     map[string]uint64 `json:"denied,omitempty"`           // retries, by event.Denial
	Rejected   map[string]uint64 `json:"rejected,omitempty"`         // calls, by reason
	Hedges     uint64            `json:"hedges"`
	HedgesWon  uint64            `json:"hedges_won"`
	SecondBest map[string]uint64 `json:"second_best,omitempty"` // calls, by event.SecondBest
	Waits      uint64            `json:"waits"`                 // calls and attempts that waited for a rate, a breaker or a slot
	Waited     float64           `json:"waited_seconds"`        // all of them together
	P50        float64           `json:"p50_seconds"`           // of attempts, recent ones; 0: none yet
	P95        float64           `json:"p95_seconds"`
	P99        float64           `json:"p99_seconds"`
	Breaker    *Breaker          `json:"breaker,omitempty"` // nil: off
}

// Budget is what retries and hedges are paid from.
type Budget struct {
	Tokens   float64 `json:"tokens"`
	Capacity float64 `json:"capacity"` // at present: it grows with the calls
}

// Limit is one limit of concurrency.
type Limit struct {
	Scope    string `json:"scope"` // "client", "streams", or the pattern of ForMethod
	InFlight int    `json:"in_flight"`
	Waiting  int    `json:"waiting"`
	Limit    int    `json:"limit"`
}

// Notifications are one-way calls.
type Notifications struct {
	Pending int    `json:"pending"`
	Sent    uint64 `json:"sent"`    // and answered with success
	Failed  uint64 `json:"failed"`  // sent, and ended with an error
	Dropped uint64 `json:"dropped"` // never sent
}

// Policy is one layer of policies. A later layer wins over an earlier one.
type Policy struct {
	Layer   string    `json:"layer"`             // "code", "owner" or "caller"
	From    string    `json:"from"`              // a file or a key
	Since   time.Time `json:"since"`             // when what holds was applied
	Refused string    `json:"refused,omitempty"` // why what came after it was not applied
	Sets    []string  `json:"sets,omitempty"`    // what it says something about
}

// Transition counts how often something went to a state.
type Transition struct {
	Of    string `json:"of"` // "instance", "method breaker" or "service breaker"
	To    string `json:"to"` // an event.State, or a breaker's state
	Count uint64 `json:"count"`
}

// Event is one line of the timeline.
type Event struct {
	At       time.Time `json:"at"`
	Level    string    `json:"level"` // "DEBUG", "INFO", "WARN" or "ERROR"
	Kind     string    `json:"kind"`  // "instance_changed"
	Text     string    `json:"text"`  // one line, with all that the event says
	Instance string    `json:"instance,omitempty"`
}

// BadCall is a call that failed, or did not succeed at its first attempt.
type BadCall struct {
	At       time.Time `json:"at"` // its end
	Method   string    `json:"method"`
	Took     float64   `json:"took_seconds"`
	Waited   float64   `json:"waited_seconds"` // before the first attempt
	Code     string    `json:"code"`           // "OK": mended by another attempt
	Error    string    `json:"error,omitempty"`
	Denied   string    `json:"denied,omitempty"` // why the last attempt was not followed by another
	Attempts []Attempt `json:"attempts,omitempty"`
	Advice   []string  `json:"advice,omitempty"` // what would have helped
}

// Attempt is one attempt of a bad call.
type Attempt struct {
	Number   int     `json:"number"`
	Instance string  `json:"instance,omitempty"`
	Address  string  `json:"address,omitempty"`
	Hedge    bool    `json:"hedge,omitempty"`
	Began    float64 `json:"began_seconds"` // since the call began
	Queued   float64 `json:"queued_seconds"`
	Took     float64 `json:"took_seconds"`
	Executed bool    `json:"executed"`
	Verdict  string  `json:"verdict"`
	CutOff   bool    `json:"cut_off,omitempty"`
	Error    string  `json:"error,omitempty"`
}
