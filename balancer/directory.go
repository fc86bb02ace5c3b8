package balancer

import (
	"time"
)

// keyPause is how many times as long as the last tables took to build the next ones wait:
// with a set that changes all the time, that leaves nine tenths of a processor.
const keyPause = 9

// keyTables find the members by key, for each priority. They belong to one set: who is a
// member, with what weight and priority.
type keyTables struct {
	of      [maxPriority + 1]*keyTable
	version uint64
	built   int64 // when
	took    int64
}

// keyTable returns that of a priority. The first call builds it. After that, building is
// not on the path of a call: while the set changes, the table is that of a moment ago, with
// nobody in the place of those who left.
func (f *Fleet) keyTable(priority int) *keyTable {
	t := f.keys.Load()
	switch {
	case t == nil:
		t = f.firstKeys()
	case t.version != f.version.Load():
		f.askKeys(t)
	}
	return t.of[priority]
}

// firstKeys has those who come at once wait for one of them.
func (f *Fleet) firstKeys() *keyTables {
	f.keysMu.Lock()
	defer f.keysMu.Unlock()
	if t := f.keys.Load(); t != nil {
		return t
	}
	return f.buildKeys()
}

// askKeys has tables built to follow t, unless that is under way.
func (f *Fleet) askKeys(t *keyTables) {
	if f.keysAsked.Load() || !f.keysAsked.CompareAndSwap(false, true) {
		return
	}
	wait := t.built + keyPause*t.took - f.now()
	time.AfterFunc(time.Duration(max(0, wait)), func() {
		f.buildKeys()
		f.keysAsked.Store(false)
	})
}

// buildKeys builds tables of the present set.
func (f *Fleet) buildKeys() *keyTables {
	f.mu.Lock()
	members, version := *f.members.Load(), f.version.Load()
	f.mu.Unlock()
	began := f.now()
	t := &keyTables{version: version}
	for priority := range t.of {
		t.of[priority] = newKeyTable(members, priority)
	}
	t.built = f.now()
	t.took = t.built - began
	f.mu.Lock()
	defer f.mu.Unlock()
	f.keys.Store(t)
	f.forgetKeys() // some may have left meanwhile
	return t
}

// forgetKeys takes out of the tables those who have left, so that nobody is kept by a key
// that is not asked for again. Requires Fleet.mu.
func (f *Fleet) forgetKeys() {
	old := f.keys.Load()
	if old == nil {
		return
	}
	t, left := *old, 0
	for priority, table := range t.of {
		those := make([]*Instance, len(table.instances))
		for n, i := range table.instances {
			if i != nil && i.member {
				those[n] = i
				left++
			}
		}
		t.of[priority] = &keyTable{those, table.rings}
	}
	if left == 0 {
		f.keys.Store(nil) // the next set is the first again
		return
	}
	f.keys.Store(&t)
}

// withID returns the members with that ID: one, unless registrations are at odds.
func (f *Fleet) withID(id string) []*Instance {
	those, ok := f.ids.Load(id)
	if !ok {
		return nil
	}
	return those.([]*Instance)
}

// enlist has a member found by its ID. Requires Fleet.mu.
func (f *Fleet) enlist(i *Instance) {
	those := f.withID(i.id)
	f.ids.Store(i.id, append(those[:len(those):len(those)], i))
}

// delist ends that. Requires Fleet.mu.
func (f *Fleet) delist(i *Instance) {
	var others []*Instance
	for _, other := range f.withID(i.id) {
		if other != i {
			others = append(others, other)
		}
	}
	if len(others) == 0 {
		f.ids.Delete(i.id)
	} else {
		f.ids.Store(i.id, others)
	}
}
