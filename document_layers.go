package surecall

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/surecall/surecall/event"
)

// PolicyLayer is one of the layers of what is in force, as [Client.Policies] returns them:
// each comes over those before it.
type PolicyLayer struct {
	Layer   string    // "code", "owner", "caller"
	Source  string    // where it comes from; "" for code
	Applied time.Time // since when what it says is in force; zero: it has said nothing yet
	Refused string    // why what its source has now is not in force; "": it is
	Sets    []string  // which keys it has, sorted: see [PolicyDocument.Sets]; nil for code
}

// Policies returns what the client's policies come from: code, and the documents that it
// follows, in the order in which they apply.
func (c *Client) Policies() []PolicyLayer { return c.core.layers() }

func (c *core) layers() []PolicyLayer { return slices.Clone(*c.layered.Load()) }

// showLayers makes layers return what is so now. It takes no lock there: who is told of an
// event may ask. It requires c.mu.
func (c *core) showLayers() {
	all := []PolicyLayer{{Layer: "code", Applied: c.coded}}
	for _, d := range c.documents {
		all = append(all, d.PolicyLayer)
	}
	c.layered.Store(&all)
}

// document is a policy document that a client follows.
type document struct {
	source PolicySource
	heard  func()        // closes first; once
	first  chan struct{} // closed once the source said something

	// guarded by core.mu
	PolicyLayer
	text   []byte         // of what is in force
	opts   []LiveOption   // that are in force
	wanted *policyVersion // what is not, because of what else is
}

// policyVersion is a text that was found valid.
type policyVersion struct {
	text []byte
	opts []LiveOption
	sets []string
}

// newDocuments returns the documents that s names, which are not followed yet.
func newDocuments(s *settings, t *target) (all []*document, err error) {
	for _, l := range []struct {
		name   string
		source PolicySource
	}{{"owner", s.owner}, {"caller", s.caller}} {
		if l.source == nil {
			continue
		}
		source := l.source
		if key, ok := source.(policyKey); ok && t != nil {
			bound, bindErr := key.bind(t)
			if bindErr != nil {
				err = errors.Join(err, bindErr)
				continue
			}
			source = bound
		}
		d := &document{source: source, first: make(chan struct{}), PolicyLayer: PolicyLayer{Layer: l.name, Source: source.String()}}
		d.heard = sync.OnceFunc(func() { close(d.first) })
		all = append(all, d)
	}
	return all, err
}

// heed does what a source says, and tells of it.
func (c *core) heed(d *document, text []byte, err error) {
	for _, e := range c.heeded(d, text, err) {
		c.emit(e)
	}
	d.heard()
}

var errGone = errors.New("the document is gone: what it said last stands, until another one says otherwise; {} says nothing")

func (c *core) heeded(d *document, text []byte, err error) []event.Event {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.showLayers()
	if err != nil {
		return d.refuse(c.service, err)
	}
	if text == nil {
		if d.Applied.IsZero() {
			d.Refused, d.wanted = "", nil
			return nil
		}
		return d.refuse(c.service, errGone)
	}
	if !d.Applied.IsZero() && bytes.Equal(text, d.text) {
		return d.stands(c.service)
	}
	parsed, err := ParsePolicy(text)
	if err != nil {
		return d.refuse(c.service, err)
	}
	d.wanted = &policyVersion{bytes.Clone(text), parsed.options(d.Layer), parsed.Sets()}
	events := c.try(d)
	if d.wanted != nil {
		return events // nothing has changed for others
	}
	return append(events, c.retryRefused()...)
}

// try puts what d wants in force, if that agrees with all else.
func (c *core) try(d *document) []event.Event {
	next := d.wanted
	s, err := c.under(c.code, d, next.opts)
	if err != nil {
		return d.refuse(c.service, fmt.Errorf("with what else is in force: %w", err), next)
	}
	c.install(s)
	d.text, d.opts, d.Sets, d.Applied, d.wanted, d.Refused = next.text, next.opts, next.sets, time.Now(), nil, ""
	return []event.Event{event.PolicyApplied{Service: c.service, Layer: d.Layer, Source: d.Source}}
}

// retryRefused tries again what was refused for what else was in force, which has changed.
func (c *core) retryRefused() (events []event.Event) {
	for again := true; again; {
		again = false
		for _, d := range c.documents {
			if d.wanted == nil {
				continue
			}
			events = append(events, c.try(d)...)
			again = again || d.wanted == nil
		}
	}
	return events
}

// under returns code's settings under the documents, with opts as those of d.
func (c *core) under(code *settings, d *document, opts []LiveOption) (*settings, error) {
	var all []LiveOption
	for _, other := range c.documents {
		if other == d {
			all = append(all, opts...)
		} else {
			all = append(all, other.opts...)
		}
	}
	if len(all) == 0 {
		return code, nil
	}
	return code.updated(all)
}

// maxRefusal bounds what is kept of an error: each of many patterns may contradict others,
// and of a source it may be the page of a proxy.
const maxRefusal = 16 << 10

// refuse notes why what the source has is not in force, and tells of it once. wanted is
// what may be once all else agrees.
func (d *document) refuse(service string, why error, wanted ...*policyVersion) []event.Event {
	d.wanted = nil
	if len(wanted) > 0 {
		d.wanted = wanted[0]
	}
	text := why.Error()
	if len(text) > maxRefusal {
		text = strings.ToValidUTF8(text[:maxRefusal], "") + "…"
		why = errors.New(text)
	}
	if d.Refused == text {
		return nil
	}
	d.Refused = text
	return []event.Event{event.PolicyRefused{Service: service, Layer: d.Layer, Source: d.Source, Err: why}}
}

// stands notes that the source has what is in force.
func (d *document) stands(service string) []event.Event {
	d.wanted = nil
	if d.Refused == "" {
		return nil
	}
	d.Refused = ""
	return []event.Event{event.PolicyApplied{Service: service, Layer: d.Layer, Source: d.Source}}
}
