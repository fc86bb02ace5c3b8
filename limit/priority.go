package limit

import "context"

// Priority says how much a call matters while there is not room for all. Its zero value
// is [Normal].
type Priority int8

// The priorities.
const (
	Sheddable Priority = -1 // goes first under every limit: prefetching, batch work
	Normal    Priority = 0
	Critical  Priority = 1 // goes last: what a user waits for and pays for
)

var priorityNames = map[Priority]string{Sheddable: "sheddable", Normal: "normal", Critical: "critical"}

// String returns the priority in words.
func (p Priority) String() string {
	if name, ok := priorityNames[p]; ok {
		return name
	}
	return "unknown"
}

// ParsePriority returns the priority of that name.
func ParsePriority(name string) (Priority, bool) {
	for p, n := range priorityNames {
		if n == name {
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
