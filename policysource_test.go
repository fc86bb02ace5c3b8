package surecall_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/surecall/surecall"
	"github.com/surecall/surecall/discovery/consul"
	"github.com/surecall/surecall/discovery/memory"
	"github.com/surecall/surecall/event"
	"github.com/surecall/surecall/internal/consultest"
	"github.com/surecall/surecall/surecalltest"
)

// write puts text into a file as an editor does that cuts it off first.
func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// replace puts text into a file as those do that know better.
func replace(t *testing.T, path, text string) {
	t.Helper()
	write(t, path+".new", text)
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// A file is obeyed within a second of its change by all clients that name it, however it is
// written; half of one never is.
func TestPolicyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "orders.json")
	replace(t, path, `{"deadline": "1s"}`)
	bubble(t, func(t *testing.T) {
		cluster, events := surecalltest.NewCluster(t, 1), &log{}
		var clients []*surecall.Client
		for range 3 {
			clients = append(clients, ready(t, cluster, events.option(), surecall.WithCallerPolicy(surecall.PolicyFile(path))))
		}
		want := func(what string, d time.Duration, refused string) {
			t.Helper()
			for _, c := range clients {
				if got := surecall.Deadline(c, getMethod); got != d {
					t.Errorf("%s: deadline %v: want %v", what, got, d)
				}
				if l := layer(t, c, "caller"); !strings.Contains(l.Refused, refused) || (refused == "") != (l.Refused == "") || l.Source != "file "+path {
					t.Errorf("%s: layer %+v: want it refused for %q", what, l, refused)
				}
			}
		}
		second := func() { advance(time.Second); synctest.Wait() }
		want("at the start", time.Second, "")
		replace(t, path, `{"deadline": "2s"}`)
		second()
		want("replaced", 2*time.Second, "")
		write(t, path, `{"deadline": "3s"}`)
		second()
		want("written", 3*time.Second, "")
		write(t, path, "")
		advance(250 * time.Millisecond)
		write(t, path, `{"deadline": "3`)
		advance(250 * time.Millisecond)
		write(t, path, `{"deadline": "4s"}`)
		if n := len(eventsOf[event.PolicyRefused](events)); n != 0 {
			t.Errorf("%d times refused while the file was written", n)
		}
		second()
		want("written slowly", 4*time.Second, "")
		write(t, path, "")
		second()
		want("empty", 4*time.Second, "empty")
		write(t, path, `{"deadline": "5s"} // soon`)
		second()
		want("bad", 4*time.Second, "line 1")
		write(t, path, strings.Repeat(" ", 1<<20))
		second()
		want("large", 4*time.Second, "262145 bytes: want at most 262144")
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		second()
		want("removed", 4*time.Second, "no such file")
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
		second()
		want("a folder", 4*time.Second, "want a regular file")
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		replace(t, path, `{"deadline": "4s"}`)
		second()
		want("back", 4*time.Second, "")
		replace(t, path, `{}`)
		second()
		want("taken back", 5*time.Second, "")
	})
}

// A file that Kubernetes mounts is a link through another, which is swapped; and one that is
// written anew can have the size and the time of what was there.
func TestPolicyFileBehindLinks(t *testing.T) {
	dir := t.TempDir()
	link := func(name, to string) {
		t.Helper()
		err := os.Symlink(to, filepath.Join(dir, name+".new"))
		if err == nil {
			err = os.Rename(filepath.Join(dir, name+".new"), filepath.Join(dir, name))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	publish := func(version, text string) string {
		t.Helper()
		if err := os.Mkdir(filepath.Join(dir, version), 0o700); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, version, "orders.json")
		write(t, file, text)
		link("..data", version)
		return file
	}
	first := publish("v1", `{"deadline": "1s"}`)
	link("orders.json", "..data/orders.json")
	bubble(t, func(t *testing.T) {
		client := ready(t, surecalltest.NewCluster(t, 1), surecall.WithCallerPolicy(surecall.PolicyFile(filepath.Join(dir, "orders.json"))))
		want := func(what string, d time.Duration, refused string) {
			t.Helper()
			advance(time.Second)
			synctest.Wait()
			if got, l := surecall.Deadline(client, getMethod), layer(t, client, "caller"); got != d || !strings.Contains(l.Refused, refused) || (refused == "") != (l.Refused == "") {
				t.Errorf("%s: deadline %v, layer %+v: want %v, refused for %q", what, got, l, d, refused)
			}
		}
		want("at the start", time.Second, "")
		second := publish("v2", `{"deadline": "2s"}`)
		if err := os.Remove(first); err != nil {
			t.Fatal(err)
		}
		want("swapped", 2*time.Second, "")
		info, err := os.Stat(second)
		if err != nil {
			t.Fatal(err)
		}
		write(t, second, `{"deadline": "3s"}`)
		if err := os.Chtimes(second, info.ModTime(), info.ModTime()); err != nil {
			t.Fatal(err)
		}
		want("of the same size and time", 3*time.Second, "")
		if err := os.RemoveAll(filepath.Dir(second)); err != nil {
			t.Fatal(err)
		}
		want("leading nowhere", 3*time.Second, "no such file")
		publish("v3", `{"deadline": "4s"}`)
		want("leading somewhere again", 4*time.Second, "")
		link("orders.json", "/dev/zero")
		want("without end", 4*time.Second, "want a regular file")
	})
}

// Close ends the watches, and an update that comes late meets no one.
func TestPolicyWatchesEnd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newPaper(`{"deadline": "1s"}`)
		client, err := surecall.NewClient("memory:///orders", surecall.WithSource(memory.New()), surecall.WithInsecure(),
			surecall.WithOwnerPolicy(p), surecall.WithCallerPolicy(surecall.PolicyFile("none")))
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if p.read() != 1 || surecall.Deadline(client, getMethod) != time.Second {
			t.Errorf("%d readers, deadline %v: want it in force before the first call", p.read(), surecall.Deadline(client, getMethod))
		}
		client.Close()
		if p.read() != 0 {
			t.Error("the document is read after Close")
		}
		if p.says(`{"deadline": "2s"}`); surecall.Deadline(client, getMethod) != time.Second {
			t.Error("a document came into force after Close")
		}
	})
}

// Documents, updates and Close at once: for the race detector.
func TestPolicyRaces(t *testing.T) {
	path := filepath.Join(t.TempDir(), "orders.json")
	write(t, path, `{"deadline": "1s"}`)
	cluster := surecalltest.NewCluster(t, 2)
	client := cluster.Client(surecall.WithOwnerPolicy(eager{}), surecall.WithCallerPolicy(surecall.PolicyFile(path)))
	if err := client.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for n := range 4 {
		all.Go(func() {
			for i := range 100 {
				switch n {
				case 0:
					_ = client.Update(surecall.WithCallDeadline(time.Duration(i+1) * time.Second))
				case 1:
					_ = client.Policies()
				default:
					get(t, client)
				}
			}
		})
	}
	all.Wait()
}

// eager is a source that has always something new.
type eager struct{}

func (eager) String() string { return "eager" }

func (eager) Watch(ctx context.Context, update func([]byte, error)) error {
	for n := 0; ctx.Err() == nil; n++ {
		update(fmt.Appendf(nil, `{"deadline": "%ds", "methods": {"/orders.v1.Orders/*": {"idempotent": %v}}}`, n%9+1, n%2 == 0), nil)
	}
	return ctx.Err()
}

// The owner of a service publishes a document in Consul, and every caller obeys within a
// second; the registry's loss of it, of itself and of its answers changes nothing.
func TestPolicyDocumentsOnConsul(t *testing.T) {
	agent := consultest.Start(t)
	kv, err := agent.Client()
	if err != nil {
		t.Fatal(err)
	}
	put := func(key, text string) {
		t.Helper()
		if _, err := kv.KV().Put(&api.KVPair{Key: key, Value: []byte(text)}, nil); err != nil {
			t.Fatal(err)
		}
	}
	put("surecall/orders", `{"deadline": "1s"}`)
	told := make(chan event.Event, 100)
	events := surecall.WithEvents(func(e event.Event) {
		switch e.(type) {
		case event.PolicyApplied, event.PolicyRefused:
			told <- e
		}
	})
	next := func(within time.Duration, who string) string {
		t.Helper()
		select {
		case e := <-told:
			return event.Describe(e).Text
		case <-time.After(within):
			t.Fatalf("%s: nothing told within %v", who, within)
			return ""
		}
	}
	source, err := consul.New(consul.Config{Address: agent.Addr})
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	var clients []*surecall.Client
	for _, opts := range [][]surecall.Option{
		{surecall.WithOptions()},
		{surecall.WithSource(source)},
	} {
		target := "consul://" + agent.Addr + "/orders"
		if len(clients) == 1 {
			target = "consul:///orders"
		}
		client, err := surecall.NewClient(target, append(opts, surecall.WithInsecure(), events, surecall.WithPolicyDocuments(), surecall.WithCallerPolicy(surecall.PolicyKey("web/orders")))...)
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		clients = append(clients, client)
	}
	each := func(what string, within, d time.Duration, text string) {
		t.Helper()
		for range clients {
			if got := next(within, what); !strings.Contains(got, text) {
				t.Errorf("%s: told %q: want %q", what, got, text)
			}
		}
		for _, c := range clients {
			if got := surecall.Deadline(c, getMethod); got != d {
				t.Errorf("%s: deadline %v: want %v", what, got, d)
			}
		}
	}
	each("at the start", 5*time.Second, time.Second, "key surecall/orders of consul at")
	put("surecall/orders", `{"deadline": "2s"}`)
	each("changed", time.Second, 2*time.Second, "in force")
	put("web/orders", `{"deadline": "3s"}`)
	each("the caller's", time.Second, 3*time.Second, "key web/orders")
	put("web/orders", `{"deadline": "x"}`)
	each("bad", time.Second, 3*time.Second, "deadline: line 1")
	if _, err := kv.KV().Delete("surecall/orders", nil); err != nil {
		t.Fatal(err)
	}
	each("deleted", time.Second, 3*time.Second, "the document is gone")
	put("web/orders", `{}`)
	each("the caller's taken back", time.Second, 2*time.Second, "in force")
	if err := agent.Restart(false); err != nil {
		t.Fatal(err)
	}
	for _, c := range clients {
		if got := surecall.Deadline(c, getMethod); got != 2*time.Second {
			t.Errorf("after the registry lost its data: deadline %v: want 2 s", got)
		}
	}
	put("surecall/orders", `{"deadline": "4s"}`)
	for deadline := time.After(40 * time.Second); ; {
		select {
		case e := <-told:
			if _, ok := e.(event.PolicyApplied); !ok || surecall.Deadline(clients[0], getMethod)+surecall.Deadline(clients[1], getMethod) != 8*time.Second {
				continue
			}
			return
		case <-deadline:
			t.Fatalf("the document that came after the loss is not in force: %+v", clients[0].Policies())
		}
	}
}
