package doctor

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/surecall/surecall/discovery"
)

// Bounds and default of [Options.Timeout].
const (
	DefaultTimeout = 5 * time.Second
	MinTimeout     = 10 * time.Millisecond
	MaxTimeout     = time.Minute
)

// Options say what to examine, and as what kind of client.
type Options struct {
	// Target is what a client would be given, "consul:///orders?tag=v2" for example.
	Target string
	// TLS expects the instances to speak TLS, Plaintext that they do not. Neither takes
	// what they speak, and says which. Each of the files, and ServerName, imply TLS.
	TLS, Plaintext bool
	// CAFile has the authorities that certificates must come from. Default the system's.
	CAFile string
	// CertFile and KeyFile are the client's own certificate. Default none.
	CertFile, KeyFile string
	// ServerName is the name that certificates must have. Default what a client checks:
	// the name that the instance registered, else the authority of the target.
	ServerName string
	// HealthService is the service whose gRPC health is asked. Default "", the server's.
	HealthService string
	// TokenFile has the ACL token for Consul; it wins over the target's and over the
	// environment's. Default those.
	TokenFile string
	// Timeout bounds each step on the network. Default 5 s, 10 ms to 1 min.
	Timeout time.Duration
}

// Doctor examines one target. It is safe for concurrent use.
type Doctor struct {
	options Options
	roots   *x509.CertPool // nil: the system's
	own     []tls.Certificate
}

// New reports, joined, what is wrong with o, by the names of the command's flags; the
// target is left to the walk.
func New(o Options) (*Doctor, error) {
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	o.Timeout = cmp.Or(o.Timeout, DefaultTimeout)
	d := &Doctor{}
	if o.Target == "" {
		fail("target is empty: want scheme:///service, for example consul:///orders")
	}
	if o.Timeout < MinTimeout || o.Timeout > MaxTimeout {
		fail("-timeout %v: want %v to %v", o.Timeout, MinTimeout, MaxTimeout)
	}
	if o.CAFile != "" {
		text, err := os.ReadFile(o.CAFile)
		d.roots = x509.NewCertPool()
		if err != nil {
			fail("-ca: %w", err)
		} else if !d.roots.AppendCertsFromPEM(text) {
			fail("-ca %s: has no certificate in PEM", o.CAFile)
		}
	}
	if (o.CertFile == "") != (o.KeyFile == "") {
		fail("-cert %q and -key %q: want both or neither", o.CertFile, o.KeyFile)
	} else if o.CertFile != "" {
		own, err := tls.LoadX509KeyPair(o.CertFile, o.KeyFile)
		if err != nil {
			fail("-cert, -key: %w", err)
		}
		d.own = []tls.Certificate{own}
	}
	o.TLS = o.TLS || o.CAFile != "" || o.CertFile != "" || o.ServerName != ""
	if o.TLS && o.Plaintext {
		fail("-insecure is given with -tls, -ca, -cert or -server-name: want one or the other")
	}
	d.options = o
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return d, nil
}

// Run walks until the end, a fault that leaves nothing to call, or the end of ctx. It
// tells each step once it is done; told may be nil. A walk that ctx ends finds no health.
func (d *Doctor) Run(ctx context.Context, told func(Step)) *Report {
	if told == nil {
		told = func(Step) {}
	}
	w := &walk{Doctor: d, told: told, report: &Report{Healthy: true, Steps: []Step{}}}
	defer w.close()
	for _, s := range w.steps() {
		if w.passesOver(s.name) {
			continue
		}
		if !w.bounded(ctx, s) {
			break
		}
	}
	if ctx.Err() != nil {
		w.report.Healthy = false
	}
	w.skipRest()
	return w.report
}

// step is one of the walk. It tells what it found, and returns whether to go on.
type step struct {
	name string
	run  func(context.Context) bool
}

// walk is the state of one Run.
type walk struct {
	*Doctor
	told    func(Step)
	report  *Report
	secrets secrets

	scheme    string
	authority string // the name that certificates are for, unless an instance has its own
	query     discovery.Query
	source    discovery.Source // nil: one found by gRPC's own resolvers
	end       func()

	client    *api.Client // nil: not Consul
	agentName string
	tokenFrom string // "" if there is none
	entries   []*api.ServiceEntry
	instances []discovery.Instance // that a client would call
}

func (w *walk) close() {
	if w.end != nil {
		w.end()
	}
}

// steps are those of the walk, in their order; the last one tells of all that instances
// are asked.
func (w *walk) steps() []step {
	return []step{
		{"target", w.target},
		{"agent", w.agent},
		{"leader", w.leader},
		{"token", w.token},
		{"service", w.service},
		{"query", w.narrow},
		{"checks", w.checks},
		{"registration", w.registration},
		{"dial", w.call},
	}
}

// passesOver reports whether a target that is not Consul's has no such step.
func (w *walk) passesOver(name string) bool {
	i := slices.Index(names, name)
	return w.source != nil && w.client == nil && i > 0 && i < slices.Index(names, "registration")
}

// bounded runs s. Calling the instances bounds itself, in each of its parts.
func (w *walk) bounded(ctx context.Context, s step) bool {
	if ctx.Err() != nil {
		return false
	}
	if s.name == "dial" {
		return s.run(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, w.options.Timeout)
	defer cancel()
	return s.run(ctx)
}

func (w *walk) ok(name, format string, args ...any) bool {
	w.tell(Step{Name: name, Status: OK, Text: fmt.Sprintf(format, args...)})
	return true
}

func (w *walk) warn(name, what, remedy string) bool {
	w.tell(Step{Name: name, Status: Warn, Text: what, Remedy: remedy})
	return true
}

// fault tells of a fault and ends the walk, unless the caller knows better.
func (w *walk) fault(name, what, remedy string) bool {
	w.report.Healthy = false
	w.tell(Step{Name: name, Status: Fault, Text: what, Remedy: remedy})
	return false
}

// tell is the one way out: nothing leaves that is not fit to be shown.
func (w *walk) tell(s Step) {
	s.Text, s.Remedy = fit(w.secrets.hide(s.Text)), fit(w.secrets.hide(s.Remedy))
	w.report.Steps = append(w.report.Steps, s)
	w.told(s)
}

// skipRest tells of the steps that the walk did not come to.
func (w *walk) skipRest() {
	reached := -1
	if n := len(w.report.Steps); n > 0 {
		reached = slices.Index(names, w.report.Steps[n-1].Name)
	}
	for _, name := range names[reached+1:] {
		if !w.passesOver(name) {
			w.tell(Step{Name: name, Status: Skip, Text: "not reached"})
		}
	}
}
