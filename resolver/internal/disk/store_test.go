package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/surecall/surecall/discovery"
)

func store(t *testing.T) Store {
	return Store{Dir: filepath.Join(t.TempDir(), "a", "b"), MaxAge: 24 * time.Hour}
}

// names are the files in the store's folder.
func (s Store) names(t *testing.T) string {
	t.Helper()
	entries, err := os.ReadDir(s.Dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

func (s Store) path() string { return filepath.Join(s.Dir, orders.file()) }

// TestSave: a file that its owner alone can read, in a folder that its owner alone can
// enter, and nothing beside it.
func TestSave(t *testing.T) {
	s := store(t)
	if _, err := s.Load(orders, written); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a folder: %v", err)
	}
	for range 2 {
		if err := s.Save(orders, Snapshot{written, set}); err != nil {
			t.Fatal(err)
		}
	}
	got, err := s.Load(orders, written.Add(24*time.Hour))
	if err != nil || len(got.Instances) != 2 {
		t.Errorf("loaded %v: %v", got, err)
	}
	us := orders
	us.Query.Datacenter = "us"
	if _, err := s.Load(us, written); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("another query: %v", err)
	}
	if got := s.names(t); got != orders.file() {
		t.Errorf("the folder holds %q", got)
	}
	for path, want := range map[string]fs.FileMode{s.Dir: 0o700, filepath.Dir(s.Dir): 0o700, s.path(): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, want mode %#o", path, info.Mode(), want)
		}
	}
}

// TestNotUsed: a file that cannot be trusted is an error which says why and names it.
func TestNotUsed(t *testing.T) {
	for _, test := range []struct {
		name string
		do   func(path string) error
		now  time.Time
		want string
	}{
		{"too old", nil, written.Add(24*time.Hour + time.Second), "it is 24h0m1s old: want at most 24h0m0s"},
		{"from the future", nil, written.Add(-time.Hour), "in the future"},
		{"cut off", func(p string) error { return os.Truncate(p, 200) }, written, "cut off"},
		{"others can write it", func(p string) error { return os.Chmod(p, 0o620) }, written, "its mode is 0620: want 0600"},
		{"others can read it", func(p string) error { return os.Chmod(p, 0o644) }, written, "its mode is 0644: want 0600"},
		{"too large", func(p string) error { return os.Truncate(p, MaxSize+1) }, written, "want at most"},
		{"a link", func(p string) error { return errors.Join(os.Rename(p, p+"x"), os.Symlink(filepath.Base(p)+"x", p)) }, written, "want a plain file"},
		{"a folder", func(p string) error { return errors.Join(os.Remove(p), os.Mkdir(p, 0o700)) }, written, "want a plain file"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := store(t)
			if err := s.Save(orders, Snapshot{written, set}); err != nil {
				t.Fatal(err)
			}
			if test.do != nil {
				if err := test.do(s.path()); err != nil {
					t.Fatal(err)
				}
			}
			got, err := s.Load(orders, test.now)
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), s.path()) || got.Instances != nil {
				t.Errorf("loaded %v, error %v: want one that says %q", got, err, test.want)
			}
		})
	}
}

// TestClocksDiffer: a clock that is a little behind is no reason to refuse a file.
func TestClocksDiffer(t *testing.T) {
	s := store(t)
	if err := s.Save(orders, Snapshot{written, set}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Load(orders, written.Add(-time.Minute)); err != nil {
		t.Error(err)
	}
}

// TestFailedSave: what could not be written leaves the old file and nothing else, and
// each failure reads the same.
func TestFailedSave(t *testing.T) {
	s := store(t)
	if err := s.Save(orders, Snapshot{written, set}); err != nil {
		t.Fatal(err)
	}
	huge := []discovery.Instance{{ID: "a", Meta: map[string]string{"x": strings.Repeat("x", MaxSize)}}}
	if err := s.Save(orders, Snapshot{written, huge}); err == nil {
		t.Error("a file that is too large was saved")
	}
	if got, err := s.Load(orders, written); err != nil || len(got.Instances) != 2 {
		t.Errorf("then loaded %v: %v", got, err)
	}
	// Nothing can be renamed over a folder.
	if err := errors.Join(os.Remove(s.path()), os.Mkdir(s.path(), 0o700)); err != nil {
		t.Fatal(err)
	}
	first, second := s.Save(orders, Snapshot{written, set}), s.Save(orders, Snapshot{written, set})
	if first == nil || second == nil || first.Error() != second.Error() {
		t.Errorf("failed with %v, then with %v", first, second)
	}
	if got := s.names(t); got != orders.file() {
		t.Errorf("left behind: %q", got)
	}
	file := Store{Dir: filepath.Join(t.TempDir(), "file")}
	if err := os.WriteFile(file.Dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := file.Save(orders, Snapshot{written, set}); err == nil || !strings.Contains(err.Error(), "is not saved") {
		t.Errorf("saved in a file: %v", err)
	}
	if _, err := file.Load(orders, written); err == nil {
		t.Error("loaded from a file")
	}
}

// TestSweep: what a killed writer left is removed once it must be dead; files of others
// never are.
func TestSweep(t *testing.T) {
	s := store(t)
	if err := s.Save(orders, Snapshot{written, set}); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for name, age := range map[string]time.Duration{
		orders.file() + ".dead": 11 * time.Minute, orders.file() + ".alive": 9 * time.Minute, "payments-1.snapshot.dead": time.Hour,
	} {
		path := filepath.Join(s.Dir, name)
		if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Chtimes(path, now, now.Add(-age))); err != nil {
			t.Fatal(err)
		}
	}
	_, _ = s.Load(orders, now) // which is long after the snapshot's time
	want := fmt.Sprintf("%[1]s %[1]s.alive payments-1.snapshot.dead", orders.file())
	if got := s.names(t); got != want {
		t.Errorf("left %q, want %q", got, want)
	}
}

// TestManyProcesses: whoever reads while others write sees a whole file.
func TestManyProcesses(t *testing.T) {
	s := store(t)
	if err := s.Save(orders, Snapshot{written, set}); err != nil {
		t.Fatal(err)
	}
	var writers sync.WaitGroup
	for n := range 4 {
		writers.Go(func() {
			for m := range 20 {
				many := make([]discovery.Instance, 1+(n*20+m)*10)
				if err := s.Save(orders, Snapshot{written, many}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { writers.Wait(); close(done) }()
	for reads := 0; ; reads++ {
		if _, err := s.Load(orders, written); err != nil {
			t.Fatalf("read %d: %v", reads, err)
		}
		select {
		case <-done:
			return
		default:
		}
	}
}
