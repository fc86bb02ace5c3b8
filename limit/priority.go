package limit

import "context"

// Priority says how much a call matters while there is not room for all. Its zero value
// is [Normal]. Any negative value counts as [Sheddable], any positive one as [Critical].
type Priority int8

// The priorities.
const (
	Sheddable Priority = -1 // goes first under every limit: prefetching, batch work
	Normal    Priority = 0
	Critical  Priority = 1 // goes last: what a user waits for and pays for
)

// String returns the priority in words.
func (p Priority) String() string {
	switch p {
	case Sheddable:
		return "sheddable"
	case Normal:
		return "normal"
	case Critical:
		return "critical"
	default:
		return "unknown"
	}
}

// ParsePriority returns the priority of that name. It reports false, and [Normal], for a
// name that is none.
func ParsePriority(name string) (Priority, bool) {
	for p := Sheddable; p <= Critical; p++ {
		if p.String() == name {
			return p, true
		}
	}
	return Normal, false
}

type priorityKey struct{}

// NewContext returns a context whose calls have priority p.
func NewContext(ctx context.Context, p Priority) context.Context {
	return context.WithValue(ctx, priorityKey{}, p)
}

// FromContext returns the priority of calls made with ctx: [Normal] unless it says
// otherwise.
func FromContext(ctx context.Context) Priority {
	p, _ := ctx.Value(priorityKey{}).(Priority)
	return p
}

// classes is how many priorities there are; a class is an index of one, the least
// important first.
const classes = 3

func (p Priority) class() int { return int(max(Sheddable, min(p, Critical))) + 1 }

// room is how much of a limit calls of priority p may fill: see the package comment. It
// is at least 1 for a limit of 1, so that whatever the limit, an idle one admits anybody.
func room(limit int, p Priority) int {
	switch {
	case p < Normal:
		return limit - limit/5
	case p > Normal:
		return limit
	default:
		return limit - limit/20
	}
}
