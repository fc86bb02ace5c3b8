package disk

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

const (
	// clockSkew is how far in the future a file may have been written.
	clockSkew = 5 * time.Minute
	// abandoned is how old a half-written file is when its writer must be dead.
	abandoned = 10 * time.Minute
)

// Store is a folder of snapshots. Any number of processes may share it.
type Store struct {
	Dir    string
	MaxAge time.Duration
}

// Load returns the snapshot of id. There being none is [fs.ErrNotExist].
func (s Store) Load(id Identity, now time.Time) (Snapshot, error) {
	snap, err := s.load(id, now)
	if err != nil {
		return Snapshot{}, fmt.Errorf("resolver: snapshot %s is not used: %w", filepath.Join(s.Dir, id.file()), bare(err))
	}
	return snap, nil
}

func (s Store) load(id Identity, now time.Time) (Snapshot, error) {
	root, err := os.OpenRoot(s.Dir)
	if err != nil {
		return Snapshot{}, err
	}
	defer func() { _ = root.Close() }()
	sweep(root, id.file(), now)
	data, err := read(root, id.file())
	if err != nil {
		return Snapshot{}, err
	}
	snap, err := decode(data, id)
	if err != nil {
		return Snapshot{}, err
	}
	switch age := now.Sub(snap.Written); {
	case age > s.MaxAge:
		return Snapshot{}, fmt.Errorf("it is %v old: want at most %v", age.Round(time.Second), s.MaxAge)
	case age < -clockSkew:
		return Snapshot{}, fmt.Errorf("it was written %v in the future: the clock went back", -age.Round(time.Second))
	}
	return snap, nil
}

func read(root *os.Root, name string) ([]byte, error) {
	// Looked at before it is opened: to open a pipe waits for its other end.
	info, err := root.Lstat(name)
	if err != nil {
		return nil, err
	}
	switch {
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("it is a %v: want a plain file", info.Mode().Type())
	case runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0:
		return nil, fmt.Errorf("its mode is %#o: want 0600, or others could have written it", info.Mode().Perm())
	case info.Size() > MaxSize:
		return nil, fmt.Errorf("it is %d bytes long: want at most %d", info.Size(), MaxSize)
	}
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return io.ReadAll(io.LimitReader(f, MaxSize+1)) // one more breaks the checksum
}

// sweep removes what writers of name left behind when they were killed.
func sweep(root *os.Root, name string, now time.Time) {
	dir, err := root.Open(".")
	if err != nil {
		return
	}
	defer func() { _ = dir.Close() }()
	names, _ := dir.Readdirnames(-1)
	for _, n := range names {
		if !strings.HasPrefix(n, name+".") {
			continue
		}
		if info, err := root.Lstat(n); err == nil && now.Sub(info.ModTime()) > abandoned {
			_ = root.Remove(n)
		}
	}
}

// Save replaces the snapshot of id, or leaves it as it is and says why.
func (s Store) Save(id Identity, snap Snapshot) error {
	if err := s.save(id, snap); err != nil {
		return fmt.Errorf("resolver: snapshot %s is not saved: %w", filepath.Join(s.Dir, id.file()), bare(err))
	}
	return nil
}

// bare is err without its path, which may be a temporary one, another each time.
func bare(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return fmt.Errorf("%s: %w", e.Op, e.Err)
	}
	if e, ok := errors.AsType[*os.LinkError](err); ok {
		return fmt.Errorf("%s: %w", e.Op, e.Err)
	}
	return err
}

func (s Store) save(id Identity, snap Snapshot) (err error) {
	data, err := encode(id, snap)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return err
	}
	root, err := os.OpenRoot(s.Dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	temp := id.file() + "." + rand.Text()
	f, err := root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = root.Remove(temp)
		}
	}()
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync() // or a crash could leave the new name on an empty file
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return root.Rename(temp, id.file())
}
