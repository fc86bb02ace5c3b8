package resolver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"time"

	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/resolver/internal/disk"
)

var (
	errEnded    = errors.New("resolver: the source ended its watch and does not say why")
	errNoAnswer = errors.New("the source has not answered yet")
)

// watch is what is known of a service in one datacenter. It belongs to the goroutine of
// its aggregate.
type watch struct {
	query    discovery.Query // of one datacenter
	priority int             // its place among them
	source   discovery.Source
	members  membership
	aliases  map[string]string // by ID: the endpoint ID of who shares its ID with another datacenter

	heard    bool      // the source said something, be it an error
	vouched  bool      // the source vouched for an answer, once at least
	answered time.Time // when it last had an answer, as far as it told us; zero: never
	doubt    error     // why the set is not trusted; nil: it is, or nothing was heard
	degraded time.Time // since when, as events tell it; zero: it is trusted

	identity disk.Identity
	loading  bool          // the file is being read
	file     disk.Snapshot // what it holds, until it is used or not needed
	fileErr  error         // why it cannot be used, likewise
	changed  bool          // since it was saved
	saved    time.Time     // zero: nothing of this life
}

// follow asks the source until ctx ends, and hands on what it says.
func (w *watch) follow(ctx context.Context, update func(discovery.Snapshot)) {
	err := w.source.Watch(ctx, w.query, update)
	if err == nil {
		err = errEnded
	}
	if ctx.Err() == nil {
		update(discovery.Snapshot{Err: err}) // the query can never work
	}
}

// take takes a snapshot.
func (w *watch) take(s discovery.Snapshot, now time.Time) {
	w.heard = true
	if s.Err != nil {
		w.members.hold()
		w.doubt = s.Err
		return
	}
	w.answered, w.changed = now, true
	w.doubt = w.members.apply(s, now)
	if s.Doubt == nil {
		w.vouched, w.file = true, disk.Snapshot{}
	}
}

// loaded takes what the file on disk holds.
func (w *watch) loaded(s disk.Snapshot, err error) {
	w.loading = false
	if !w.vouched {
		w.file, w.fileErr = s, err
	}
}

// fall turns to the file if the source has nothing that it vouches for: because it said
// so, or because patience has an end. It returns what is wrong with a file that would
// have been of use.
func (w *watch) fall(impatient bool) error {
	if w.vouched || w.loading || w.doubt == nil && !impatient {
		return nil
	}
	set, err := w.file.Instances, w.fileErr
	w.file.Instances, w.fileErr = nil, nil
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	clean, _ := discovery.Sanitize(set)
	w.members.restore(clean)
	if w.doubt == nil && w.fromDisk() {
		w.doubt = errNoAnswer
	}
	return nil
}

// expire lets the time of the absent run out. It returns when it has to be called again.
func (w *watch) expire(now time.Time) time.Time {
	next := w.members.expire(now)
	if w.vouched && !w.members.held {
		w.doubt = w.members.doubt()
	}
	return next
}

// settled reports whether all has been heard that there is to hear at once.
func (w *watch) settled() bool { return w.vouched || w.heard && !w.loading || w.fromDisk() }

func (w *watch) fromDisk() bool { return len(w.members.stored) > 0 }

// trusted reports whether the set is what the source vouches for.
func (w *watch) trusted() bool { return w.vouched && w.doubt == nil }

// trouble is the doubt, with what is made of it.
func (w *watch) trouble(now time.Time) error {
	if w.doubt == nil || !w.fromDisk() {
		return w.doubt
	}
	age := now.Sub(w.file.Written).Round(time.Second)
	return fmt.Errorf("resolver: instances from disk serve, saved %v ago: %w", age, w.doubt)
}

// freshest is when the source last had an answer, be it one that changed nothing, if it
// can tell. It is safe for concurrent use.
func (w *watch) freshest() (at time.Time, ok bool) {
	if f, can := w.source.(discovery.Freshness); can {
		return f.Answered(w.query)
	}
	return time.Time{}, false
}

// keep hands the set to the keeper if it is trusted, and new or not saved for as long as
// every. It returns when it has to be called again. Nothing at all is saved only after
// there has been something: an empty first answer is also what a registry gives that lost
// its data.
func (w *watch) keep(k *disk.Keeper, now time.Time, every time.Duration) time.Time {
	if k == nil || !w.trusted() || len(w.members.listed) == 0 && w.saved.IsZero() {
		return time.Time{}
	}
	if !w.changed && now.Before(w.saved.Add(every)) {
		return w.saved.Add(every)
	}
	at, ok := w.freshest()
	if !ok {
		at = now // it would have told of trouble
	}
	k.Put(w.identity, disk.Snapshot{Written: at, Instances: slices.Collect(maps.Values(w.members.listed))})
	w.changed, w.saved = false, now
	return now.Add(every)
}

// place names the datacenter for people.
func (w *watch) place() string { return place(w.query.Datacenter) }

func place(datacenter string) string { return cmp.Or(datacenter, "the source's own datacenter") }
