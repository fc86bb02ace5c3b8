package surecall

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/surecall/surecall/resolver"
)

// WithSnapshotDir keeps the last good snapshot of the client's source in a file in dir,
// and starts from it when the source has no answer, or none within 250 ms: a process that
// starts while Consul is down makes its calls. By default nothing is kept.
//
// The folder is made if need be, for this user alone; any number of clients and processes
// may share it. A file is written in the background, 2 to 4 s after a change and when the
// client closes; one that cannot be written or used fails nothing, and is an
// event.SnapshotProblem. It holds what the source said of the instances, and no token.
// Whoever can write to dir decides where calls go: with addresses that are soon given to
// others, use transport security.
//
// See package resolver for the rules, and [WithSnapshotMaxAge].
func WithSnapshotDir(dir string) Option {
	return fixed(func(s *settings) {
		if dir == "" {
			s.fail(errors.New("surecall: WithSnapshotDir: dir is empty: want a folder"))
			return
		}
		abs, err := filepath.Abs(dir) // the program may change its folder later
		if err != nil {
			s.fail(fmt.Errorf("surecall: WithSnapshotDir %q: %w", dir, err))
		}
		s.snapshots.Dir = abs
	})
}

// WithSnapshotMaxAge says how old a snapshot in [WithSnapshotDir]'s folder may be and
// still be used. By default, and for 0, that is 24 h.
func WithSnapshotMaxAge(d time.Duration) Option {
	return fixed(func(s *settings) { s.snapshots.MaxAge = d })
}

// checkSource reports what s asks of a source that t does not have.
func (s *settings) checkSource(t *target) error {
	if t != nil && t.open == nil && s.snapshots.Dir != "" {
		return fmt.Errorf("surecall: WithSnapshotDir: gRPC finds the instances of %q by itself: want a target of consul, static or memory", t.service)
	}
	return nil
}

// SourceStatus is what a client's source last answered, how old that is, and whether it is
// trusted, as [Client.Source] returns it. Its String is one line for a log.
type SourceStatus = resolver.Status

// Source returns what the client's source last answered. It asks nobody: it is cheap, and
// safe for concurrent use. Before the first call or WaitReady, while the client is idle,
// and for targets that gRPC resolves by itself, there is nothing to trust, and Why says so.
func (c *Client) Source() SourceStatus {
	if !c.core.sourced {
		return SourceStatus{Service: c.core.service, Answer: resolver.Answer{Why: "gRPC finds the instances of this target by itself"}}
	}
	return c.core.source.Status(c.core.service)
}
