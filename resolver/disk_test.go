package resolver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/resolver"

	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/discovery/memory"
	"github.com/surecall/surecall/internal/endpoint"
)

var errDown = errors.New("connection refused")

// earlier lives, in a folder, of a client that knew the instances ids of registry.
func earlier(t *testing.T, registry *memory.Registry, ids string) Snapshots {
	t.Helper()
	on := Snapshots{Dir: filepath.Join(t.TempDir(), "snapshots")}
	registry.Set("orders", set(ids)...)
	cc := &stubConn{}
	life(t, registry, Config{Snapshots: on}, cc)()
	cc.told(t, 1, 0)
	return on
}

// life starts a resolver of its own, and returns what ends it.
func life(t *testing.T, source discovery.Source, c Config, cc *stubConn) func() {
	t.Helper()
	c.Scheme, c.Query.Service = "memory", "orders"
	c.Open = func() (discovery.Source, func(), error) { return source, func() {}, nil }
	r, err := NewBuilder(c).Build(resolver.Target{}, cc, resolver.BuildOptions{})
	if err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
	return r.Close
}

// file is the one file of a folder.
func file(t *testing.T, on Snapshots) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(on.Dir, "*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("the folder holds %q: %v", files, err)
	}
	return files[0]
}

// TestStartFromDisk: while the source fails, its last good set serves, to be dialled;
// without a folder there is nothing but the error.
func TestStartFromDisk(t *testing.T) {
	for _, off := range []bool{false, true} {
		t.Run(fmt.Sprint("off=", off), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				registry := memory.New()
				on := earlier(t, registry, "a b")
				registry.Fail(errDown)
				time.Sleep(23 * time.Hour)
				if off {
					cc := start(t, registry, Config{})
					cc.told(t, 0, 1)
					return
				}
				var events log
				cc := start(t, registry, Config{Snapshots: on, Events: events.add})
				want(t, cc.told(t, 1, 0), "a b")
				events.want(t, "degraded: 2 known")
				time.Sleep(time.Hour)
				registry.Recover()
				want(t, cc.told(t, 1, 0), "a b") // the same
				events.want(t, "degraded: 2 known", "recovered after 1h0m0s")
			})
		})
	}
}

// TestSilentSource: a source that says nothing is not waited for longer than 250 ms.
func TestSilentSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		registry := memory.New()
		on := earlier(t, registry, "a b")
		answer := make(chan string)
		source := watchFunc(func(ctx context.Context, update func(discovery.Snapshot)) error {
			for {
				select {
				case ids := <-answer:
					update(discovery.Snapshot{Instances: set(ids)})
				case <-ctx.Done():
					return ctx.Err()
				}
			}
		})
		cc := start(t, source, Config{Snapshots: on})
		time.Sleep(patience - time.Millisecond)
		cc.told(t, 0, 0)
		time.Sleep(time.Millisecond)
		want(t, cc.told(t, 1, 0), "a b")
		answer <- "b c"
		want(t, cc.told(t, 2, 0), "b c") // believed as it is
	})
}

// TestFirstAnswer: what becomes of the instances from disk.
func TestFirstAnswer(t *testing.T) {
	for _, test := range []struct {
		name    string
		loss    Loss
		answers string // after the first error; "?" doubted; a time passes
		want    string
	}{
		{"the same", Loss{}, "a b c", "a b c"},
		{"others", Loss{}, "d", "d"},
		{"fewer", Loss{}, "a", "a"},
		{"doubted: nobody goes", Loss{}, "d?", "a b c d"},
		{"doubted, some listed", Loss{}, "a?", "a b c"},
		{"doubted, and listed no longer", Loss{}, "a?;d?", "a? b c d"},
		{"doubted and empty", Loss{}, "-?", "a b c"},
		{"doubted, for a day", Loss{}, "-?;24h", "a b c"},
		{"doubted, then vouched for", Loss{}, "-?;d", "d"},
		{"empty: a loss", Loss{}, "-", "a? b? c?"},
		{"empty, and they come back", Loss{}, "-;a;a b", "a b c?"},
		{"empty, for 5 minutes", Loss{}, "-;5m", ""},
		{"empty, believed", ApplyAtOnce(), "-", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				registry := memory.New()
				on := earlier(t, registry, "a b c")
				registry.Fail(errDown)
				cc := start(t, registry, Config{Snapshots: on, Loss: test.loss})
				want(t, cc.told(t, 1, 0), "a b c")
				for answer := range strings.SplitSeq(test.answers, ";") {
					if d, err := time.ParseDuration(answer); err == nil {
						time.Sleep(d)
						continue
					}
					list, doubted := strings.CutSuffix(answer, "?")
					registry.Set("orders", set(strings.ReplaceAll(list, "-", ""))...)
					if doubted {
						registry.Doubt(errStale)
					} else {
						registry.Recover()
					}
					synctest.Wait()
				}
				want(t, cc.last(), test.want)
			})
		})
	}
}

// last is the last set that gRPC was told.
func (c *stubConn) last() string {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	var ids []string
	for _, ep := range c.states[len(c.states)-1].Endpoints {
		info := endpoint.Of(ep)
		if info.Absent {
			info.ID += "?"
		}
		ids = append(ids, info.ID)
	}
	return strings.Join(ids, " ")
}

// TestBadFile: a file that is of no use when it is needed is told, and nothing else
// changes.
func TestBadFile(t *testing.T) {
	for _, test := range []struct {
		name string
		do   func(path string) error
		want string // of the event; empty: none
	}{
		{"too old", func(string) error { time.Sleep(25 * time.Hour); return nil }, "it is 25h0m0s old"},
		{"cut off", func(p string) error { return os.Truncate(p, 100) }, "cut off"},
		{"of others", func(p string) error { return os.Chmod(p, 0o666) }, "want 0600"},
		{"none", os.Remove, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				registry := memory.New()
				on := earlier(t, registry, "a b")
				if err := test.do(file(t, on)); err != nil {
					t.Fatal(err)
				}
				registry.Fail(errDown)
				var events log
				cc := start(t, registry, Config{Snapshots: on, Events: events.add})
				time.Sleep(time.Hour)
				cc.told(t, 0, 1)
				got := strings.Join(events.lines, "; ")
				if test.want == "" {
					events.want(t, "degraded: 0 known")
				} else if !strings.Contains(got, test.want) || !strings.HasSuffix(got, "; degraded: 0 known") {
					t.Errorf("events %q, want one that says %q", got, test.want)
				}
			})
		})
	}
}

// TestBadFileIsReplaced: who has an answer needs no file, and does not complain of it.
func TestBadFileIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		registry := memory.New()
		on := earlier(t, registry, "a b")
		if err := os.Truncate(file(t, on), 100); err != nil {
			t.Fatal(err)
		}
		var events log
		cc := start(t, registry, Config{Snapshots: on, Events: events.add})
		time.Sleep(time.Minute)
		want(t, cc.told(t, 1, 0), "a b")
		events.want(t)
		want(t, onDisk(t, on), "a b")
	})
}

// onDisk is what a client would start with if its source were down.
func onDisk(t *testing.T, on Snapshots) string {
	t.Helper()
	down := memory.New()
	down.Fail(errDown)
	cc := &stubConn{}
	life(t, down, Config{Snapshots: on}, cc)()
	if len(cc.states) == 0 {
		return ""
	}
	return cc.last()
}

// TestSaved: what the source vouches for is saved, and nothing else.
func TestSaved(t *testing.T) {
	for _, test := range []struct {
		name  string
		loss  Loss
		steps string // what the registry holds, "?" doubted; "fail"; a time that passes
		want  string // what is on disk in the end
	}{
		{"a change", Loss{}, "a;10s;a b;10s", "a b"},
		{"not at once", Loss{}, "a;10s;a b;1s", "a"},
		{"a doubted set", Loss{}, "a b;10s;a b c?;10s", "a b"},
		{"a large loss", Loss{}, "a b c;10s;a;10s", "a b c"},
		{"a large loss, believed", Loss{}, "a b c;10s;a;6m", "a"},
		{"all gone", Loss{}, "a b c;10s;-;10s", "a b c"},
		{"all gone, believed", Loss{}, "a b c;10s;-;6m", ""},
		{"an error", Loss{}, "a b;10s;fail;1h", "a b"},
		{"an empty first answer", ApplyAtOnce(), "-;1h", "z"},
		{"an empty answer, believed at once", ApplyAtOnce(), "a;10s;-;10s", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				registry := memory.New()
				on := earlier(t, registry, "z")
				cc := &stubConn{}
				registry.Set("orders")
				for n, step := range strings.Split(test.steps, ";") {
					if d, err := time.ParseDuration(step); err == nil {
						time.Sleep(d)
						continue
					}
					if step == "fail" {
						registry.Fail(errDown)
						continue
					}
					list, doubted := strings.CutSuffix(step, "?")
					if doubted {
						registry.Doubt(errStale)
					}
					registry.Set("orders", set(strings.ReplaceAll(list, "-", ""))...)
					if n == 0 {
						t.Cleanup(life(t, registry, Config{Snapshots: on, Loss: test.loss}, cc))
					}
					synctest.Wait()
				}
				want(t, onDisk(t, on), test.want)
			})
		})
	}
}

// TestSavedAnew: a set that does not change for days does not grow old on disk, but it
// does while the source has no answer.
func TestSavedAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		registry := memory.New()
		on := Snapshots{Dir: t.TempDir()}
		registry.Set("orders", set("a b")...)
		cc := start(t, registry, Config{Snapshots: on})
		want(t, cc.told(t, 1, 0), "a b")
		time.Sleep(100*time.Hour + time.Minute)
		want(t, onDisk(t, on), "a b")
		registry.Fail(errDown)
		time.Sleep(20 * time.Hour)
		want(t, onDisk(t, on), "a b")
		time.Sleep(4 * time.Hour)
		want(t, onDisk(t, on), "")
	})
}

// TestCannotSave: a folder that cannot be made is an event, and fails no client.
func TestCannotSave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		registry := memory.New()
		registry.Set("orders", set("a")...)
		file := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		var events log
		cc := start(t, registry, Config{Snapshots: Snapshots{Dir: file}, Events: events.add})
		time.Sleep(time.Minute)
		registry.Set("orders", set("a b")...)
		time.Sleep(time.Minute)
		want(t, cc.told(t, 2, 0), "a b")
		synctest.Wait()
		if len(events.lines) != 1 || !strings.Contains(events.lines[0], "is not saved") {
			t.Errorf("events %q, want one", events.lines)
		}
	})
}

// TestSnapshotsValidate: bounds are told with what is wrong.
func TestSnapshotsValidate(t *testing.T) {
	for _, test := range []struct {
		s    Snapshots
		want string
	}{
		{Snapshots{}, ""},
		{Snapshots{Dir: "/x"}, ""},
		{Snapshots{Dir: "/x", MaxAge: time.Hour}, ""},
		{Snapshots{Dir: "/x", MaxAge: -1}, "MaxAge -1ns"},
		{Snapshots{MaxAge: time.Hour}, "without a Dir"},
	} {
		err := test.s.Validate()
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v, want %q", test.s, err, test.want)
		}
	}
}

// TestSavedOnClose: an orderly end leaves a file of that moment.
func TestSavedOnClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		registry, on, m := memory.New(), Snapshots{Dir: t.TempDir()}, &Monitor{}
		registry.Set("orders", set("a")...)
		end := life(t, registry, Config{Snapshots: on}, &stubConn{})
		time.Sleep(90 * time.Minute)
		end()
		time.Sleep(time.Minute)
		registry.Fail(errDown)
		t.Cleanup(life(t, registry, Config{Snapshots: on, Monitor: m}, &stubConn{}))
		if s := m.Status("orders"); !s.FromDisk || s.Age != time.Minute {
			t.Errorf("status %v, want a snapshot of a minute ago", s)
		}
	})
}

// TestRestore: who is listed is no longer from disk, wherever it listens now.
func TestRestore(t *testing.T) {
	m := newMembership(Loss{})
	m.restore(set("a b"))
	moved := discovery.Instance{ID: "a", Address: "10.0.0.9:80"}
	if doubt := m.apply(discovery.Snapshot{Instances: []discovery.Instance{moved}, Doubt: errStale}, time.Now()); !errors.Is(doubt, errStale) {
		t.Errorf("doubt %v", doubt)
	}
	m.restore(set("a")) // a file that was read late
	if _, both := m.stored["a"]; both || m.size() != 2 || m.listed["a"].Address != moved.Address {
		t.Errorf("after a doubted answer: %v, %d in all", &m, m.size())
	}
}
