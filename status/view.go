package status

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"html/template"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The most that the page shows; the JSON has all of it.
const (
	rowsOfPage    = 1000 // instances, which the services share
	rowsAtLeast   = 20   // of a service, however many services there are
	methodsShown  = 200
	eventsShown   = 60
	badCallsShown = 30
)

// view is the page at one moment, rendered. It is not changed any more.
type view struct {
	Version  uint64 // rises from one view to the next
	Shape    string // of another shape, a page is loaded anew
	Title    string // the document's
	Query    string // what instances are searched for; empty: none
	Cut      bool   // there are instances that are not shown
	Top      part
	Services []serviceParts
	lists    []list
	byID     map[string]part // all of them
	latest   func() []byte   // what is new since the view before, made once
}

// serviceParts are the parts of one service's section.
type serviceParts struct {
	Key       string // "s0"
	Name      string
	Head      part
	More      part // what is said below the instances
	Rest      part // and below the methods
	Policies  part
	Instances list
	Methods   list
	BadCalls  list
	Events    list
}

// part is an element of the page that is replaced as a whole. ID is that of the element.
type part struct {
	ID      string
	HTML    template.HTML
	version uint64 // of the view in which it became so
	source  any    // what it was rendered from, or on which day, comparable; nil: not to be compared
}

// list is an element whose children are parts, each under an ID that stays.
type list struct {
	ID      string
	Items   []part
	version uint64 // of the view in which its items or their order became so
}

// ids are those of the items, in their order.
func (l *list) ids() []string {
	ids := make([]string, len(l.Items))
	for n := range l.Items {
		ids[n] = l.Items[n].ID
	}
	return ids
}

// renderer makes views, each knowing the one before it: what did not change is not
// rendered again.
type renderer struct {
	templates *template.Template
	previous  map[string]part
	lists     map[string]list
	version   uint64
	next      *view
}

func newRenderer(t *template.Template) *renderer { return &renderer{templates: t} }

// page renders all as of now. Of the instances it shows those that query fits.
func (r *renderer) page(all []Status, now time.Time, query string) *view {
	r.version++
	v := &view{Version: r.version, Query: query, Shape: shapeOf(all), byID: make(map[string]part, len(r.previous)+16)}
	v.latest = sync.OnceValue(func() []byte { return v.message(v.Version - 1) })
	r.next = v
	verdicts := make([]verdict, len(all))
	most := max(rowsAtLeast, rowsOfPage/max(1, len(all)))
	for n := range all {
		verdicts[n] = judge(&all[n])
		v.Services = append(v.Services, r.service(n, &all[n], verdicts[n], most, now))
	}
	top := topOf(all, verdicts, now)
	v.Title, v.Top = top.Title, r.part("top", "top", top, false)
	r.previous, r.lists, r.next = v.byID, make(map[string]list, len(v.lists)), nil
	for _, l := range v.lists {
		r.lists[l.ID] = l
	}
	return v
}

func (r *renderer) service(n int, s *Status, verdict verdict, most int, now time.Time) serviceParts {
	key := "s" + strconv.Itoa(n)
	p := serviceParts{Key: key, Name: clean(s.Service, 100)}
	p.Head = r.part(key+"-head", "head", headOf(key, s, verdict), false)
	rows, more := instancesOf(s, r.next.Query, most)
	r.next.Cut = r.next.Cut || more.Hidden != ""
	more.ID = key + "-more"
	p.More = r.part(more.ID, "more", more, true)
	p.Instances = list{ID: key + "-instances"}
	keys := map[string]int{}
	for _, row := range rows {
		row.ID = unique(keys, key, row.key)
		p.Instances.Items = append(p.Instances.Items, r.part(row.ID, "instance", row, true))
	}
	p.Methods = list{ID: key + "-methods"}
	for _, row := range methodsOf(s) {
		row.ID = unique(keys, key, "method", row.Name)
		p.Methods.Items = append(p.Methods.Items, r.part(row.ID, "method", row, true))
	}
	rest := restOf(key, s)
	p.Rest = r.part(rest.ID, "rest", rest, true)
	p.BadCalls = list{ID: key + "-bad"}
	for i := range s.BadCalls[:min(len(s.BadCalls), badCallsShown)] {
		b := &s.BadCalls[i]
		id := unique(keys, key, "bad", b.At.String(), b.Method, b.Error)
		p.BadCalls.Items = append(p.BadCalls.Items, r.daily(id, "bad", now, func() any { return badOf(id, b, now) }))
	}
	p.Events = list{ID: key + "-events"}
	for i := range s.Events[:min(len(s.Events), eventsShown)] {
		e := &s.Events[i]
		id := unique(keys, key, "event", e.At.String(), e.Kind, e.Text)
		p.Events.Items = append(p.Events.Items, r.daily(id, "event", now, func() any { return eventOf(id, e, now) }))
	}
	p.Policies = r.part(key+"-policies", "policies", policiesOf(key, s), false)
	for _, l := range []*list{&p.Instances, &p.Methods, &p.BadCalls, &p.Events} {
		r.list(l)
	}
	return p
}

// part renders source, unless it compares with what was rendered before and is that.
func (r *renderer) part(id, name string, source any, compares bool) part {
	before, was := r.previous[id]
	p := part{ID: id, version: r.version}
	if compares {
		if p.source = source; was && before.source == source {
			r.next.byID[id] = before
			return before
		}
	}
	p.HTML = r.render(name, source)
	if was && p.HTML == before.HTML {
		p.version = before.version
	}
	r.next.byID[id] = p
	return p
}

// daily renders what never changes under its ID, but that as of another day its moment has a
// date.
func (r *renderer) daily(id, name string, now time.Time, source func() any) part {
	p, was := r.previous[id]
	if today := dayOf(now); !was || p.source != today {
		p = part{ID: id, version: r.version, HTML: r.render(name, source()), source: today}
		if was && p.HTML == r.previous[id].HTML {
			p.version = r.previous[id].version
		}
	}
	r.next.byID[id] = p
	return p
}

func (r *renderer) render(name string, source any) template.HTML {
	var b strings.Builder
	if err := r.templates.ExecuteTemplate(&b, name, source); err != nil {
		return template.HTML(template.HTMLEscapeString(fmt.Sprintf("status: %s: %v", name, err)))
	}
	return template.HTML(b.String()) // of a template that escapes
}

// list notes whether l is as it was.
func (r *renderer) list(l *list) {
	l.version = r.version
	if before, was := r.lists[l.ID]; was && slices.Equal(before.ids(), l.ids()) {
		l.version = before.version
	}
	r.next.lists = append(r.next.lists, *l)
}

// unique is an ID for what says all it is by parts, within the service of key. Those who
// say the same are numbered. Whatever they say, it is none of the page's own IDs, which
// have no two hyphens in a row.
func unique(seen map[string]int, key string, parts ...string) string {
	h := fnv.New64a()
	for _, p := range parts {
		_, _ = h.Write(strconv.AppendInt(nil, int64(len(p)), 10)) // so that parts cannot run together
		_, _ = h.Write([]byte(p))
	}
	id := key + "--" + strconv.FormatUint(h.Sum64(), 36)
	n := seen[id]
	if seen[id]++; n > 0 {
		id += "-" + strconv.Itoa(n)
	}
	return id
}

// shapeOf tells pages apart that have other sections.
func shapeOf(all []Status) string {
	h := fnv.New64a()
	for n := range all {
		_, _ = fmt.Fprintf(h, "%q %q\n", all[n].Service, all[n].Target)
	}
	return strconv.FormatUint(h.Sum64(), 36)
}

// byTrouble sorts those first that need a look; among equals by ID, numbers by their
// value.
func byTrouble(a, b *Instance) int {
	return cmp.Or(cmp.Compare(looks(a).rank, looks(b).rank), cmp.Compare(a.Priority, b.Priority), natural(a.ID, b.ID), cmp.Compare(a.Address, b.Address))
}

// natural compares strings so that orders-9 stands before orders-10.
func natural(a, b string) int {
	for a != "" && b != "" {
		na, nb := digitsAt(a), digitsAt(b)
		if na > 0 && nb > 0 {
			x, y := strings.TrimLeft(a[:na], "0"), strings.TrimLeft(b[:nb], "0")
			if c := cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(x, y)); c != 0 {
				return c
			}
			a, b = a[na:], b[nb:]
			continue
		}
		if a[0] != b[0] {
			return cmp.Compare(a[0], b[0])
		}
		a, b = a[1:], b[1:]
	}
	return cmp.Compare(len(a), len(b))
}

// digitsAt is the number of digits that s begins with.
func digitsAt(s string) int {
	return len(s) - len(strings.TrimLeft(s, "0123456789"))
}
