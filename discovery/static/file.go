package static

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"reflect"
	"sync"
	"time"

	"github.com/surecall/surecall/discovery"
)

// How a file is read.
const (
	fileEvery = time.Second
	fileMax   = 16 << 20
)

// file is a catalog on disk.
type file struct {
	path string

	mu   sync.Mutex
	text []byte    // of the file as it was last read well
	good *catalog  // what it says
	at   time.Time // when that was
}

// File returns a source that holds what the file lists, and follows it. It fails if the
// file cannot be used now; what happens to it later does not end the source.
func File(path string) (*Source, error) {
	f := &file{path: path}
	if _, err := f.read(); err != nil {
		return nil, err
	}
	return &Source{file: f}, nil
}

// watch reads the file each second, and all of it: by its size and modification time
// two writes in quick succession can look like one.
func (f *file) watch(ctx context.Context, q discovery.Query, update func(discovery.Snapshot)) error {
	ticker := time.NewTicker(fileEvery)
	defer ticker.Stop()
	var last *discovery.Snapshot
	report := func(s discovery.Snapshot) {
		if last == nil || !same(*last, s) {
			last = &s
			update(s)
		}
	}
	for {
		if c, err := f.read(); err == nil {
			report(c.lookup(q))
		} else {
			if last == nil {
				report(f.last().lookup(q))
			}
			report(discovery.Snapshot{Err: err})
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
	}
}

// same reports whether b would tell a watch nothing new after a.
func same(a, b discovery.Snapshot) bool {
	if a.Err != nil && b.Err != nil {
		return a.Err.Error() == b.Err.Error()
	}
	return a.Err == nil && b.Err == nil && reflect.DeepEqual(a, b)
}

// last returns what the file said when it was last read well.
func (f *file) last() *catalog {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.good
}

// read returns what the file says now.
func (f *file) read() (*catalog, error) {
	text, err := load(f.path)
	if err != nil {
		return nil, fmt.Errorf("discovery/static: %w", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.good != nil && bytes.Equal(text, f.text) {
		f.at = time.Now()
		return f.good, nil
	}
	c, err := parse(text)
	if err != nil {
		return nil, fmt.Errorf("discovery/static: %s: %w", f.path, err)
	}
	f.text, f.good, f.at = text, c, time.Now()
	return c, nil
}

// readAt returns when the file was last read well.
func (f *file) readAt() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.at
}

func load(path string) ([]byte, error) {
	r, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer r.Close() // only read: nothing can be lost
	text, err := io.ReadAll(io.LimitReader(r, fileMax+1))
	if err == nil && len(text) > fileMax {
		err = fmt.Errorf("%s is larger than %d bytes", path, fileMax)
	}
	return text, err
}

// parse reads the text of a file. A field that does not exist is an error: it is a
// misspelt one that would have said something.
func parse(text []byte) (*catalog, error) {
	text = bytes.TrimSpace(text)
	c := &catalog{}
	var into any = &c.services
	if bytes.HasPrefix(text, []byte("[")) {
		into = &c.list
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return nil, fmt.Errorf(`%w: want {"service": [instances]} or [instances]`, err)
	}
	if rest := bytes.TrimSpace(text[decoder.InputOffset():]); len(rest) > 0 {
		return nil, fmt.Errorf("%.20q follows the end of the JSON", rest)
	}
	for service, set := range c.services {
		for _, i := range set {
			if i.Service != "" && i.Service != service {
				return nil, fmt.Errorf("an instance of %q says that it is of %q", service, i.Service)
			}
		}
	}
	if c.services == nil && c.list == nil {
		return nil, fmt.Errorf("it lists nothing: want an object or a list")
	}
	return c, nil
}
