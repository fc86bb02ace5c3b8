package balancer

import (
	"sync"
	"sync/atomic"
)

// directory finds members by ID and by key. It belongs to one set: who is a member, with
// what weight and priority. What it is asked for first, it builds.
type directory struct {
	version uint64
	members []*Instance

	mu   sync.Mutex
	byID atomic.Pointer[map[string][]*Instance]
	keys [maxPriority + 1]atomic.Pointer[keyTable]
}

// directory returns that of the present set.
func (f *Fleet) directory() *directory {
	if d := f.directoryNow.Load(); d != nil && d.version == f.version.Load() {
		return d
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	d := f.directoryNow.Load()
	if version := f.version.Load(); d == nil || d.version != version {
		d = &directory{version: version, members: *f.members.Load()}
		f.directoryNow.Store(d)
	}
	return d
}

// withID returns the members with that ID: one, unless registrations are at odds.
func (d *directory) withID(id string) []*Instance {
	if all := d.byID.Load(); all != nil {
		return (*all)[id]
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	all := d.byID.Load()
	if all == nil {
		found := make(map[string][]*Instance, len(d.members))
		for _, i := range d.members {
			found[i.id] = append(found[i.id], i)
		}
		all = &found
		d.byID.Store(all)
	}
	return (*all)[id]
}

// table returns that of the keys, over the members of a priority.
func (d *directory) table(priority int) *keyTable {
	if t := d.keys[priority].Load(); t != nil {
		return t
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	t := d.keys[priority].Load()
	if t == nil {
		t = newKeyTable(d.members, priority)
		d.keys[priority].Store(t)
	}
	return t
}
