// Package kvstore is a once.Store in Consul's KV, to show how one is written: about a
// hundred lines on check-and-set and a blocking query, to copy for Redis or SQL.
//
// It is exact: reads are consistent, a write is in the log of most of Consul's servers
// before it returns, and a record lives for its ttl after each write of it, however long
// the call takes that it is of. It is not for heavy traffic. A call takes two writes, each
// a round of Raft in the cluster that also carries your service discovery, and a read in
// between. Against one server with its data in memory, both on two busy processors, the
// benchmark beside this file shows 1,000 calls per second at 64 at once; a real cluster
// with disks may do less, and your discovery needs what is left. Values are at most 512 KB
// (once.Policy.MaxReply defaults to half of that).
package kvstore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/surecall/surecall/lifecycle/once"
)

// Store keeps records under a prefix. It is safe for concurrent use, by any number of
// processes, and has nothing to close.
type Store struct {
	client *api.Client
	prefix string
	ttl    time.Duration

	mu      sync.Mutex
	session string    // what new writes are locked with
	since   time.Time // when it was made
}

// Session TTLs that Consul takes are 10 s to 24 h; a session is made for twice ttl.
const (
	minTTL = 5 * time.Second
	maxTTL = 12 * time.Hour
)

// New returns a store under "prefix/" whose records live, after they were last written, for
// ttl at least and, since Consul takes its time with expired sessions, for four times that
// at most.
func New(client *api.Client, prefix string, ttl time.Duration) (*Store, error) {
	if prefix == "" {
		return nil, errors.New("kvstore: prefix is empty: want one that nobody else writes to")
	}
	if ttl < minTTL || ttl > maxTTL {
		return nil, fmt.Errorf("kvstore: ttl %v: want %v to %v", ttl, minTTL, maxTTL)
	}
	return &Store{client: client, prefix: prefix, ttl: ttl}, nil
}

// Keeps implements [once.Keeper].
func (s *Store) Keeps() time.Duration { return s.ttl }

// Put implements [once.Store]. A transaction either writes or says what was in the way.
func (s *Store) Put(ctx context.Context, key string, version uint64, value []byte) (once.Record, bool, error) {
	path := s.path(key)
	session, err := s.current(ctx)
	if err != nil {
		return once.Record{}, false, err
	}
	ops := api.TxnOps{{KV: &api.KVTxnOp{Verb: api.KVCheckNotExists, Key: path}}}
	if version != 0 {
		pair, _, err := s.read(ctx, path, 0)
		if now := record(pair); err != nil || now.Version != version {
			return now, false, err
		}
		ops = api.TxnOps{{KV: &api.KVTxnOp{Verb: api.KVCheckIndex, Key: path, Index: version}}}
		if pair.Session != "" && pair.Session != session {
			// It would go with that session, however often it is written.
			ops = append(ops, &api.TxnOp{KV: &api.KVTxnOp{Verb: api.KVUnlock, Key: path, Value: pair.Value, Session: pair.Session}})
		}
	}
	ops = append(ops, &api.TxnOp{KV: &api.KVTxnOp{Verb: api.KVLock, Key: path, Value: value, Session: session}})
	written, answer, _, err := s.client.Txn().Txn(ops, new(api.QueryOptions).WithContext(ctx))
	if err != nil {
		return once.Record{}, false, fmt.Errorf("kvstore: write %s: %w", path, err)
	}
	if written {
		last := answer.Results[len(answer.Results)-1]
		return once.Record{Version: last.KV.ModifyIndex, Value: value}, true, nil
	}
	pair, _, err := s.read(ctx, path, 0)
	now := record(pair)
	if err == nil && now.Version == version { // so what failed was not the comparison
		err = fmt.Errorf("kvstore: write %s: %s", path, answer.Errors[0].What)
		s.verify(ctx, session)
	}
	return now, false, err
}

// Wait implements [once.Store], by blocking queries.
func (s *Store) Wait(ctx context.Context, key string, version uint64) (once.Record, error) {
	path, index := s.path(key), uint64(0)
	for {
		pair, next, err := s.read(ctx, path, index)
		if now := record(pair); err != nil || now.Version != version {
			return now, err
		}
		if next < index {
			next = 0 // Consul was restored from a snapshot
		}
		index = next
	}
}

// read returns what is stored, nil if nothing is; if index is not 0, once Consul's index of
// it has passed that or some time has.
func (s *Store) read(ctx context.Context, path string, index uint64) (*api.KVPair, uint64, error) {
	// Consistent, for a lagging server would show that nothing is there.
	query := (&api.QueryOptions{RequireConsistent: true, WaitIndex: index, WaitTime: time.Minute}).WithContext(ctx)
	pair, meta, err := s.client.KV().Get(path, query)
	switch {
	case ctx.Err() != nil:
		return nil, 0, ctx.Err()
	case err != nil:
		return nil, 0, fmt.Errorf("kvstore: read %s: %w", path, err)
	}
	return pair, meta.LastIndex, nil
}

func record(pair *api.KVPair) once.Record {
	if pair == nil {
		return once.Record{}
	}
	return once.Record{Version: pair.ModifyIndex, Value: pair.Value}
}

// path is where a key is stored. Hashed, it has no characters that mean something to
// Consul, and who may list the KV does not learn the IDs.
func (s *Store) path(key string) string {
	sum := sha256.Sum256([]byte(key))
	return s.prefix + "/" + hex.EncodeToString(sum[:])
}

// current returns the session that writes lock their records with. Consul has no TTL of
// keys: it deletes those of a session that expires, which a session that nobody renews
// does, all at once. So a new one is made each ttl, for twice that; the lock means nothing
// beyond that.
func (s *Store) current(ctx context.Context) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.session != "" && time.Since(s.since) < s.ttl {
		return s.session, nil
	}
	began := time.Now()
	// No checks: the records shall not go when this machine does.
	id, _, err := s.client.Session().CreateNoChecks(&api.SessionEntry{
		Name: "kvstore " + s.prefix, Behavior: api.SessionBehaviorDelete, TTL: (2 * s.ttl).String(),
		LockDelay: time.Millisecond, // else, for 15 s, nobody writes what went with it; 0 would be that default
	}, new(api.WriteOptions).WithContext(ctx))
	if err != nil {
		return "", fmt.Errorf("kvstore: session: %w", err)
	}
	s.session, s.since = id, began
	return id, nil
}

// verify has the next record locked with a new session if Consul has lost this one: a
// write can be refused for other reasons.
func (s *Store) verify(ctx context.Context, session string) {
	query := (&api.QueryOptions{RequireConsistent: true}).WithContext(ctx)
	if known, _, err := s.client.Session().Info(session, query); err != nil || known != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.session == session {
		s.session = ""
	}
}
