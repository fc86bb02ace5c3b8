package lifecycle

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/keepalive"

	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/event"
)

// Life is one life of a server, from its start to the return of its last handler. It is
// used once. Its methods are safe for concurrent use.
type Life struct {
	config    Config
	ownHealth bool // the program gave its own health service
	invalid   error
	log       *slog.Logger
	nonce     string // the incarnation
	traffic   *traffic

	installed atomic.Bool        // a call of our own has met our interceptors
	stopping  context.Context    // until gRPC stops
	stop      context.CancelFunc // ends stopping
	cutting   context.Context    // until calls are cut off
	cutOff    context.CancelFunc // ends cutting
	hurry     context.Context    // until all waiting is to end
	atOnce    func()             // ends hurry
	ending    chan struct{}      // closed when Stop is called, or something died
	stopped   chan struct{}      // closed when nothing runs any more

	mu      sync.Mutex
	phase   phase
	asked   bool // Stop was called
	died    bool // ending is closed, since one of the servers ended
	held    bool // Drain was called while warming up: do not go online
	health  vitality
	keepers []*keeper
	leaving *leaving // nil: online
	errs    []error  // what Stop returns

	// Written by Start before started is closed, or before what reads them begins.
	started       chan struct{} // closed when Start has done all it does
	cancelStart   context.CancelFunc
	server        *grpc.Server
	listener      *silentListener
	self          *self
	address       string
	registrations []discovery.Registration
	admin         *http.Server
	adminListener net.Listener
	serving       sync.WaitGroup // of all that serve
}

type phase int

const (
	fresh phase = iota
	starting
	running // online or not: see leaving
	ended
)

// New returns the life of a server. What is wrong with cfg is reported by Start and Run.
func New(cfg Config) *Life {
	l := &Life{
		ownHealth: cfg.Health != nil,
		invalid:   cfg.validate(),
		nonce:     rand.Text(),
		traffic:   newTraffic(),
		ending:    make(chan struct{}),
		stopped:   make(chan struct{}),
		started:   make(chan struct{}),
	}
	l.config = cfg.withDefaults()
	l.log = l.config.Logger.With("service", cfg.Service)
	l.health.server = l.config.Health
	l.stopping, l.stop = context.WithCancel(context.Background())
	l.cutting, l.cutOff = context.WithCancel(context.Background())
	hurry, cancel := context.WithCancelCause(context.Background())
	l.hurry, l.atOnce = hurry, func() { cancel(errAtOnce) }
	return l
}

// ServerOptions are what the server has to be made with:
//
//	grpc.NewServer(append(l.ServerOptions(), yours...)...)
//
// They hold the two interceptors, as grpc.UnaryInterceptor and grpc.StreamInterceptor:
// gRPC runs those before all of grpc.ChainUnaryInterceptor, in whatever order the options
// come, and takes only one of each. Give your own as grpc.ChainUnaryInterceptor and
// grpc.ChainStreamInterceptor; another grpc.UnaryInterceptor would have to be inside of
// ours, so that gRPC panics over it. They also hold Config.Credentials, a keepalive
// policy that lets clients ping every 5 s and on idle connections (gRPC's own is 5 min,
// and disconnects those who ping more), and a grpc.ConnectionTimeout of 10 s (gRPC's own
// is 2 min, for which a stop would wait).
func (l *Life) ServerOptions() []grpc.ServerOption {
	options := []grpc.ServerOption{
		grpc.UnaryInterceptor(l.unary),
		grpc.StreamInterceptor(l.stream),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
		grpc.ConnectionTimeout(10 * time.Second),
	}
	if l.config.Credentials != nil {
		options = append(options, grpc.Creds(selfCredentials{l.config.Credentials}))
	}
	return options
}

// Health is the health service, for programs that have more to say of single services,
// or set the whole server NOT_SERVING while they run: it is then reported critical, and
// callers that watch move away. While the server starts and leaves, what matters is set
// by the Life, and while it leaves all else is ignored.
func (l *Life) Health() *health.Server { return l.config.Health }

// InFlight returns how many calls run now, without those of the health, reflection and
// channelz services and without replays.
func (l *Life) InFlight() (unary, streams int) {
	return int(l.traffic.unary.Load()), int(l.traffic.streams.Load())
}

// Address returns the address that callers dial; empty before Start.
func (l *Life) Address() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.address
}

// Done returns a channel that is closed when the process should end: Stop was called, or
// one of the servers died. Programs that call Start and not Run wait for it beside
// whatever else ends them, and then call Stop.
func (l *Life) Done() <-chan struct{} { return l.ending }

// die says that a server ended which nobody asked to.
func (l *Life) die(err error) {
	l.mu.Lock()
	asked := l.asked
	if !asked {
		l.errs = append(l.errs, err)
		if !l.died {
			l.died = true
			close(l.ending)
		}
		l.cancelStart()
	}
	l.mu.Unlock()
	if !asked {
		l.log.Error("lifecycle: a server ended by itself; leaving", "error", err)
	}
}

// step does one step and tells of it. waitsFor says what may take time.
func (l *Life) step(name, waitsFor string, atMost time.Duration, do func() error) error {
	l.log.Info("lifecycle: "+name, "waits_for", waitsFor, "at_most", atMost)
	start := time.Now()
	err := do()
	took := time.Since(start)
	if err != nil {
		l.log.Warn("lifecycle: "+name+" ended", "took", took, "error", err)
	} else {
		l.log.Info("lifecycle: "+name+" done", "took", took)
	}
	l.tell(event.LifecycleStep{Service: l.config.Service, Step: name, Took: took, Err: err})
	return err
}

func (l *Life) tell(e event.Event) {
	if l.config.Events != nil {
		l.config.Events(e)
	}
}

var errStopped = errors.New("stopped before it was online")
