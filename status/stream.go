package status

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"sync"
	"time"
)

const (
	beat   = 5 * time.Second  // without news a reader is told that there are none
	stalls = 10 * time.Second // a reader that takes longer for one message is let go
)

// events writes what changes on the page, as server-sent events, until the reader goes or
// the server shuts down. Each message says what is new since the last one that this reader
// took, so one that is slow gets fewer, and nothing is kept for it.
func (p *page) events(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // proxies may hold it back otherwise
	if r.Method == http.MethodHead {
		return
	}
	run := p.live.join()
	if run == nil {
		h.Set("Retry-After", "5")
		http.Error(w, "too many pages are open", http.StatusServiceUnavailable)
		return
	}
	defer p.live.leave(run)
	stopped := p.servers.stopped(r)
	control := http.NewResponseController(w)
	if err := control.Flush(); errors.Is(err, http.ErrNotSupported) {
		http.Error(w, "what stands before the status page cannot flush: "+err.Error(), http.StatusNotImplemented)
		return
	}
	send := func(message []byte) bool {
		// Without deadlines (of a wrapped writer) the connection's end is what ends it.
		_ = control.SetWriteDeadline(time.Now().Add(stalls))
		_, err := w.Write(message)
		return err == nil && control.Flush() == nil
	}
	if !send([]byte("retry: 1000\n\n")) {
		return
	}
	timer := time.NewTimer(beat)
	defer timer.Stop()
	for seen := uint64(0); ; {
		message := []byte("event: beat\ndata: \n\n")
		view, changed := run.newest()
		if view != nil && view.Version > seen {
			message = view.since(seen)
			seen = view.Version
		} else {
			select {
			case <-r.Context().Done():
				return
			case <-stopped:
				return
			case <-changed:
				continue
			case <-timer.C:
			}
		}
		if !send(message) {
			return
		}
		timer.Reset(beat)
	}
}

// news is what changed on the page: elements by their IDs, and of lists that changed all
// their children's IDs in order.
type news struct {
	Shape string              `json:"shape"`
	Parts map[string]string   `json:"parts"`
	Lists map[string][]string `json:"lists"`
}

// since returns the message that leads from the view of version seen to v. The one that
// nearly all readers take is made once for all of them.
func (v *view) since(seen uint64) []byte {
	if seen+1 == v.Version {
		return v.latest()
	}
	return v.message(seen)
}

func (v *view) message(seen uint64) []byte {
	n := news{Shape: v.Shape, Parts: map[string]string{}, Lists: map[string][]string{}}
	for id, p := range v.byID {
		if p.version > seen {
			n.Parts[id] = string(p.HTML)
		}
	}
	for i := range v.lists {
		if l := &v.lists[i]; l.version > seen {
			n.Lists[l.ID] = l.ids()
		}
	}
	var b bytes.Buffer
	b.WriteString("event: news\ndata: ")
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // it is not part of a page, and would be half as long again
	_ = e.Encode(n)        // of strings only, on one line
	b.WriteString("\n")
	return b.Bytes()
}

// servers are those that serve the page: an open stream must not hold up their Shutdown.
type servers struct {
	mu  sync.Mutex
	all map[*http.Server]<-chan struct{}
}

// stopped returns what is closed when the server of r shuts down, nil if that is unknown.
func (s *servers) stopped(r *http.Request) <-chan struct{} {
	server, ok := r.Context().Value(http.ServerContextKey).(*http.Server)
	if !ok {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	stopped, ok := s.all[server]
	if !ok {
		c := make(chan struct{})
		server.RegisterOnShutdown(sync.OnceFunc(func() { close(c) }))
		stopped = c
		s.all[server] = c
	}
	return stopped
}
