package replay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

const (
	// maxMethods bounds what a recording may name: a server has a few hundred methods.
	maxMethods = 1000
	// maxPassed bounds the methods that are named as passed over.
	maxPassed = 20
)

// Script is what of a recording is to be replayed.
type Script struct {
	Lines      []Line   // by method
	PassedOver []string // methods that are not replayed, and why; at most 20
	Incomplete error    // why the recording was not read to its end; nil if it was
}

// Line is the requests of one method.
type Line struct {
	Method   string
	Messages [][]byte // at least one
}

// Load reads a recording, of which it holds at most perMethod records per method and
// reads at most maxBytes. It fails if there is no record that may be replayed.
func Load(ctx context.Context, r io.Reader, m Methods, perMethod int, maxBytes int64) (Script, error) {
	l := loader{methods: m, uses: map[string]Use{}, lines: map[string]*Line{}}
	l.read(ctx, NewReader(&bounded{r: r, left: maxBytes, most: maxBytes}), perMethod)
	s := l.script()
	if err := ctx.Err(); err != nil {
		return s, fmt.Errorf("replay: %d records read: %w", l.records, context.Cause(ctx))
	}
	if len(s.Lines) > 0 {
		return s, nil
	}
	if s.Incomplete != nil && l.records == 0 {
		return s, s.Incomplete
	}
	why := fmt.Sprintf("replay: no record to replay among %d", l.records)
	if len(s.PassedOver) > 0 {
		why += ": " + strings.Join(s.PassedOver, ", ")
	}
	if s.Incomplete != nil {
		return s, fmt.Errorf("%s; %w", why, s.Incomplete)
	}
	return s, errors.New(why)
}

type loader struct {
	methods Methods
	uses    map[string]Use
	lines   map[string]*Line
	records int
	err     error // what ended the reading
}

func (l *loader) read(ctx context.Context, r *Reader, perMethod int) {
	for ctx.Err() == nil {
		rec, err := r.Next()
		if err != nil {
			l.err = err
			return
		}
		l.records++
		use, known := l.uses[rec.Method]
		if !known {
			if len(l.uses) == maxMethods {
				continue
			}
			use = l.methods.Of(rec.Method)
			l.uses[rec.Method] = use
		}
		if use != Take {
			continue
		}
		line := l.lines[rec.Method]
		if line == nil {
			line = &Line{Method: rec.Method}
			l.lines[rec.Method] = line
		}
		if len(line.Messages) < perMethod {
			line.Messages = append(line.Messages, rec.Message)
		}
	}
}

func (l *loader) script() Script {
	var s Script
	for method, use := range l.uses {
		switch use {
		case Take:
			s.Lines = append(s.Lines, *l.lines[method])
		case SideEffects:
			s.PassedOver = append(s.PassedOver, method+" (is not marked NO_SIDE_EFFECTS)")
		case Streaming:
			s.PassedOver = append(s.PassedOver, method+" (is a stream)")
		case NotAsked: // was told so
		}
	}
	slices.SortFunc(s.Lines, func(a, b Line) int { return strings.Compare(a.Method, b.Method) })
	slices.Sort(s.PassedOver)
	if len(s.PassedOver) > maxPassed {
		s.PassedOver = s.PassedOver[:maxPassed]
	}
	if l.err != io.EOF {
		s.Incomplete = l.err
	}
	return s
}

// bounded fails, where io.LimitedReader ends, when there is more than it may read.
type bounded struct {
	r          io.Reader
	left, most int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, fmt.Errorf("longer than %d bytes: want at most as many", b.most)
	}
	n, err := b.r.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}
