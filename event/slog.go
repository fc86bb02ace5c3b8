package event

import (
	"context"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"time"
)

// What Slog writes in a storm.
const (
	slogLines  = 10          // of one kind and service …
	slogWindow = time.Second // … within this time
	slogText   = 500         // bytes of a text from elsewhere
	maskedText = 4 << 10     // bytes of it that are looked at
)

// Slog returns a handler that writes each event to logger as one line. nil means
// [slog.Default] at the time of the call.
//
// Of a storm it writes the first 10 lines of each kind, level and service in a second.
// What was left out is told by a line such as
//
//	level=INFO msg="… and 1234 more attempt_retried in 1s" service=orders event=attempt_retried left_out=1234
//
// which comes with the next event of any kind after that second: Slog starts no timer
// and no goroutine. Each line has the attributes service and event, the kind's name,
// and those of the event's fields that are set. The text of an error or a reason is cut at
// 500 bytes, and what looks like a token or a password in it is masked.
func Slog(logger *slog.Logger) Handler {
	if logger == nil {
		logger = slog.Default()
	}
	var s sampler
	return func(e Event) {
		l := describe(e)
		ctx := context.Background()
		if !logger.Enabled(ctx, l.level) {
			return
		}
		write, over := s.admit(time.Now(), l.stream())
		for _, o := range over {
			text := fmt.Sprintf("… and %d more %s in %v", o.leftOut, o.kind, slogWindow)
			logger.LogAttrs(ctx, o.level, text,
				slog.String("service", o.service), slog.String("event", o.kind), slog.Int("left_out", o.leftOut))
		}
		if write {
			logger.LogAttrs(ctx, l.level, l.text, l.attrs[:l.n]...)
		}
	}
}

// Description is an event in words.
type Description struct {
	Level    slog.Level
	Kind     string // "instance_changed"
	Service  string
	Instance string // the ID; empty: it is not about one
	Text     string // one line with all that the event says, but for those above
}

// Describe returns what [Slog] would write of e, for handlers that show events elsewhere.
func Describe(e Event) Description {
	l := describe(e)
	d := Description{Level: l.level, Kind: l.kind, Service: l.service}
	var more []string
	for _, a := range l.attrs[:l.n] {
		switch a.Key {
		case "service", "event":
		case "instance":
			d.Instance = a.Value.String()
		default:
			more = append(more, a.Key+" "+a.Value.Resolve().String())
		}
	}
	d.Text = l.text
	if more != nil {
		d.Text += " (" + strings.Join(more, ", ") + ")"
	}
	return d
}

// line is one event as it is written.
type line struct {
	level   slog.Level
	kind    string
	service string
	text    string
	attrs   [9]slog.Attr // those that describe adds, in an array to save an allocation per event
	n       int
}

func (l *line) stream() stream { return stream{l.kind, l.service, l.level} }

// newLine begins a line with the two attributes that all have.
func newLine(level slog.Level, kind, text, service string) *line {
	l := &line{level: level, kind: kind, service: service, text: text}
	return l.str("service", service).str("event", kind)
}

func (l *line) add(a slog.Attr) *line {
	l.attrs[l.n] = a
	l.n++
	return l
}

// str, free (text of unknown origin) and err add what is set, num adds in any case.
func (l *line) str(key, value string) *line {
	if value == "" {
		return l
	}
	return l.add(slog.String(key, value))
}

func (l *line) free(key, text string) *line {
	if text == "" {
		return l
	}
	return l.add(slog.Any(key, masked(text)))
}

// dry marks what was decided, and not done.
func (l *line) dry(run bool) *line {
	if !run {
		return l
	}
	return l.add(slog.Bool("dry_run", true))
}

func (l *line) num(key string, value int) *line { return l.add(slog.Int(key, value)) }

func (l *line) err(key string, err error) *line {
	if err == nil {
		return l
	}
	return l.add(slog.Any(key, maskedError{err}))
}

// describe makes the line of an event.
func describe(e Event) *line {
	switch e := e.(type) {
	case InstanceAdded:
		return newLine(slog.LevelInfo, "instance_added", "instance added", e.Service).
			str("instance", e.Instance).str("address", e.Address).num("weight", e.Weight)
	case InstanceRemoved:
		return newLine(slog.LevelInfo, "instance_removed", "instance removed", e.Service).
			str("instance", e.Instance).str("address", e.Address).free("why", e.Why)
	case InstanceChanged:
		return newLine(levelOf(e.To), "instance_changed", "instance is "+string(e.To), e.Service).
			str("instance", e.Instance).str("address", e.Address).
			str("from", string(e.From)).str("to", string(e.To)).free("why", e.Why)
	case PriorityChanged:
		return newLine(slog.LevelWarn, "priority_changed", "calls go to another priority", e.Service).
			num("from", e.From).num("to", e.To).free("why", e.Why)
	case HealthUnknown:
		return newLine(slog.LevelInfo, "health_unknown", "instance's health is not known, and taken as good", e.Service).
			str("instance", e.Instance).err("error", e.Err)
	case InstanceProblem:
		return newLine(slog.LevelWarn, "instance_problem", "registration has a problem", e.Service).
			str("instance", e.Instance).free("what", e.What)
	case AttemptRetried:
		return newLine(slog.LevelInfo, "attempt_retried", "attempt failed, another follows", e.Service).
			str("method", e.Method).str("instance", e.Instance).num("attempt", e.Attempt).
			err("cause", e.Cause).add(slog.Duration("wait", e.Wait))
	case AttemptHedged:
		return newLine(slog.LevelDebug, "attempt_hedged", "attempt takes long, another was sent beside it", e.Service).
			str("method", e.Method).str("instance", e.Instance).num("attempt", e.Attempt).add(slog.Duration("after", e.After))
	case RetryDenied:
		return newLine(slog.LevelWarn, "retry_denied", "attempt failed and is not retried", e.Service).
			str("method", e.Method).str("instance", e.Instance).num("attempt", e.Attempt).
			str("why", string(e.Why)).err("cause", e.Cause)
	case CallRejected:
		return newLine(slog.LevelWarn, "call_rejected", "call rejected", e.Service).
			str("method", e.Method).err("error", e.Err)
	case CallServedSecondBest:
		level := slog.LevelWarn
		if e.Cause == nil {
			level = slog.LevelDebug
		}
		return newLine(level, "call_served_second_best", "call answered by "+string(e.By), e.Service).
			str("method", e.Method).str("by", string(e.By)).add(slog.Duration("age", e.Age)).err("cause", e.Cause)
	case NotificationDropped:
		return newLine(slog.LevelWarn, "notification_dropped", "notification was not delivered", e.Service).
			str("method", e.Method).err("error", e.Err)
	case LimitNear:
		return newLine(slog.LevelWarn, "limit_near", "limit of concurrency is near", e.Service).
			str("scope", e.Scope).num("in_flight", e.InFlight).num("limit", e.Limit)
	case InstanceYields:
		return newLine(slog.LevelInfo, "instance_yields", "instance has too much to do", e.Service).
			str("instance", e.Instance).add(slog.Float64("share", e.Share)).add(slog.Duration("for", e.For))
	case ServiceBreakerChanged:
		level, text := slog.LevelInfo, "service breaker closed"
		if e.Open {
			level, text = slog.LevelError, "service breaker opened"
		}
		return newLine(level, "service_breaker_changed", text, e.Service).dry(e.DryRun).free("why", e.Why)
	case MethodBreakerChanged:
		return newLine(slog.LevelWarn, "method_breaker_changed", "method breaker is "+e.To, e.Service).
			str("method", e.Method).str("from", e.From).str("to", e.To).dry(e.DryRun).free("why", e.Why)
	case InstanceWouldChange:
		return newLine(slog.LevelInfo, "instance_would_change", wouldBe(e.To), e.Service).
			str("instance", e.Instance).str("address", e.Address).str("from", e.From).str("to", e.To).free("why", e.Why)
	case SourceDegraded:
		level := slog.LevelWarn
		if e.Known == 0 {
			level = slog.LevelError
		}
		return newLine(level, "source_degraded", "source has no sure answer", e.Service).
			str("datacenter", e.Datacenter).err("error", e.Err).num("known", e.Known)
	case SourceRecovered:
		return newLine(slog.LevelInfo, "source_recovered", "source answers again", e.Service).
			str("datacenter", e.Datacenter).add(slog.Duration("after", e.After))
	case SnapshotProblem:
		return newLine(slog.LevelWarn, "snapshot_problem", "snapshot on disk has a problem", e.Service).
			str("datacenter", e.Datacenter).err("error", e.Err)
	case RegistrationDegraded:
		return newLine(slog.LevelError, "registration_degraded", "registration cannot be kept alive", e.Service).
			str("instance", e.Instance).err("error", e.Err)
	case RegistrationRecovered:
		return newLine(slog.LevelInfo, "registration_recovered", "registration is kept alive again", e.Service).
			str("instance", e.Instance).add(slog.Duration("after", e.After))
	case LifecycleStep:
		level := slog.LevelInfo
		if e.Err != nil {
			level = slog.LevelWarn
		}
		return newLine(level, "lifecycle_step", "step of a server's life", e.Service).
			str("step", e.Step).add(slog.Duration("took", e.Took)).err("error", e.Err)
	case ProtectionSwitched:
		text := "protection switched on again"
		if e.Off {
			text = "protection switched off"
		}
		return newLine(slog.LevelWarn, "protection_switched", text, e.Service).
			str("protection", e.Protection).str("by", e.By)
	case PolicyApplied:
		return newLine(slog.LevelInfo, "policy_applied", "policy document is in force", e.Service).
			str("layer", e.Layer).str("source", e.Source)
	case PolicyRefused:
		return newLine(slog.LevelError, "policy_refused", "policy document is not in force, the one before stands", e.Service).
			str("layer", e.Layer).str("source", e.Source).err("error", e.Err)
	case ConfigWarning:
		return newLine(slog.LevelWarn, "config_warning", "configuration is likely not what was meant", e.Service).
			free("what", e.What)
	default: // an event that is newer than this switch
		return newLine(slog.LevelInfo, fmt.Sprintf("%T", e), "event", "")
	}
}

// wouldBe says what an instance would be: a state, or something by that state of its breaker.
func wouldBe(to string) string {
	switch to {
	case "closed", "open", "half-open":
		return "instance's breaker would be " + to
	default:
		return "instance would be " + to
	}
}

func levelOf(s State) slog.Level {
	switch s {
	case Connecting:
		return slog.LevelDebug
	case Ejected, Overruled, Failed:
		return slog.LevelWarn
	default:
		return slog.LevelInfo
	}
}

// masked and maskedError are made fit for a log when they are written, which in a storm
// they mostly are not.
type (
	masked      string
	maskedError struct{ error }
)

// LogValue implements [slog.LogValuer].
func (m masked) LogValue() slog.Value { return slog.StringValue(Mask(string(m))) }

// LogValue implements [slog.LogValuer].
func (m maskedError) LogValue() slog.Value { return slog.StringValue(Mask(m.Error())) }

var (
	credentials = regexp.MustCompile(`://[^/\s"'@]+@`)
	secrets     = regexp.MustCompile(`(?i)((?:token|password|passwd|secret|api_?key|authorization)["']?\s*[=:]\s*["']?(?:bearer\s+)?)[^\s&"',;]+`)
)

// Mask makes a text of unknown origin, an error's for example, fit for a log: what looks
// like a token or a password becomes ***, and what is left is cut at 500 bytes. Slog does
// it by itself; it is here for handlers of your own.
func Mask(text string) string {
	if len(text) > maskedText { // a server decides how long its errors are, and this is slow
		text = text[:maskedText]
		text = text[:max(slogText, strings.LastIndexAny(text, " \t\n"))] // no half words
	}
	// In this order: half a secret would no longer look like one.
	text = credentials.ReplaceAllString(text, "://***@")
	text = secrets.ReplaceAllString(text, "$1***")
	if len(text) > slogText {
		text = strings.ToValidUTF8(text[:slogText], "") + "…"
	}
	return text
}
