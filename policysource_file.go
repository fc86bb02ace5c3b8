package surecall

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/surecall/surecall/internal/strictjson"
)

// policyPoll is how often a file is read. A change is taken when two reads in a row find
// it, so that one that is being written is not taken half.
const policyPoll = 200 * time.Millisecond

// PolicyFile is a policy document in a file, which is read five times a second, and all of
// it: by its size and modification time two writes in quick succession can look like one.
// A change is taken once it has stood for 200 ms, and so within half a second, however it
// is written. A file that is missing or cannot be read is an error of the source.
func PolicyFile(path string) PolicySource {
	if abs, err := filepath.Abs(path); err == nil { // the program may change its folder later
		path = abs
	}
	return policyFile(path)
}

type policyFile string

func (f policyFile) String() string { return "file " + string(f) }

// reading is what was found in a file.
type reading struct {
	text []byte
	err  error
}

func (r reading) same(as reading) bool {
	if r.err != nil && as.err != nil {
		return r.err.Error() == as.err.Error()
	}
	return r.err == nil && as.err == nil && bytes.Equal(r.text, as.text)
}

func (f policyFile) Watch(ctx context.Context, update func([]byte, error)) error {
	ticker := time.NewTicker(policyPoll)
	defer ticker.Stop()
	told := f.read()
	update(told.text, told.err)
	for last := told; ; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
		now := f.read()
		if now.same(last) && !now.same(told) {
			told = now
			update(now.text, now.err)
		}
		last = now
	}
}

func (f policyFile) read() reading {
	text, err := readRegular(string(f))
	return reading{text, err}
}

// readRegular returns what is in a file, or of one that is too large for a document a
// little more than fits into one.
func readRegular(path string) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular(): // to open a pipe may last for ever
		return nil, fmt.Errorf("%s: want a regular file", path)
	}
	r, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer r.Close() // only read: nothing can be lost
	text, err := io.ReadAll(io.LimitReader(r, strictjson.MaxSize+1))
	if err != nil {
		return nil, err
	}
	return text, nil
}
