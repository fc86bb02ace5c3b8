package static_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/surecall/surecall/discovery"
	"github.com/surecall/surecall/discovery/static"
)

func TestNewRefuses(t *testing.T) {
	for _, tc := range []struct {
		name string
		set  []discovery.Instance
		want []string
	}{
		{"an empty list", nil, []string{"list is empty"}},
		{"all that is wrong", []discovery.Instance{{Address: "a"}, {Address: "b:1"}, {Address: "c:1", Weight: -1}}, []string{
			`instance 1: Address "a": want host:port`, `instance 3: Weight -1: want 0`,
		}},
		{"an ID twice", []discovery.Instance{{ID: "a", Address: "a:1"}, {ID: "a", Address: "b:1"}}, []string{`"a" is listed twice`}},
		{"an address twice", []discovery.Instance{{Address: "a:1"}, {Address: "a:1"}}, []string{`"a:1" is listed twice`}},
		{"an ID twice across lists", []discovery.Instance{{Address: "a:1"}, {Address: "a:1", Service: "orders"}}, []string{`"a:1" is listed twice`}},
		{"a weight too large", []discovery.Instance{{Address: "a:1", Weight: 70000}}, []string{"Weight 70000: want 0 (means 1) to 65535"}},
		{"a health that is none", []discovery.Instance{{Address: "a:1", Health: 9}}, []string{"Health 9"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := static.New(tc.set...)
			if err == nil {
				t.Fatal("New took it")
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
		})
	}
	if _, err := static.New(discovery.Instance{Address: "a:1", Service: "x"}, discovery.Instance{Address: "a:1", Service: "y"}); err != nil {
		t.Errorf("the same address in two services: %v", err)
	}
}

func TestFileRefuses(t *testing.T) {
	for name, tc := range map[string]struct{ text, want string }{
		"nothing":              {"", "want {"},
		"null":                 {"null", "lists nothing"},
		"another kind":         {"7", "want {"},
		"a misspelt field":     {`[{"address":"a:1","wieght":3}]`, `"wieght"`},
		"two values":           {`[] {}`, "follows the end"},
		"half a file":          {`{"orders":[{"addr`, "want {"},
		"a service at odds":    {`{"orders":[{"address":"a:1","service":"payments"}]}`, `"orders" says that it is of "payments"`},
		"a health that is not": {`[{"address":"a:1","health":"fine"}]`, "fine"},
		"too much":             {`[` + strings.Repeat(" ", 16<<20) + `]`, "larger than"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "fleet.json")
			if err := os.WriteFile(path, []byte(tc.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := static.File(path); err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("%v does not name the file and %q", err, tc.want)
			}
		})
	}
	if _, err := static.File(filepath.Join(t.TempDir(), "gone")); err == nil {
		t.Error("File took one that does not exist")
	}
}

// history is what a watch has reported, in a line each.
type history struct {
	mu    sync.Mutex
	lines []string
}

func (h *history) update(s discovery.Snapshot) {
	text := "failed"
	if s.Err == nil {
		var addresses []string
		for _, i := range s.Instances {
			addresses = append(addresses, i.Address)
		}
		text = fmt.Sprintf("%s %d problems", strings.Join(addresses, ","), len(s.Problems))
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lines = append(h.lines, text)
}

func (h *history) take() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	lines := h.lines
	h.lines = nil
	return lines
}

func TestFileIsFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk(t)
		d.writeText(t, `[{"address":"a:1"}]`)
		source, err := static.File(d.path)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var watches sync.WaitGroup
		defer watches.Wait()
		defer cancel()
		watch := func() *history {
			h := &history{}
			watches.Go(func() { _ = source.Watch(ctx, discovery.Query{Service: "orders"}, h.update) })
			return h
		}
		time.Sleep(time.Millisecond) // the ticks fall between the steps, not on them
		old := watch()
		for _, step := range []struct {
			text string
			want []string
		}{
			{`[{"address":"a:1"}]`, []string{"a:1 0 problems"}},
			{`[{"address":"b:1"}]`, []string{"b:1 0 problems"}}, // the same size
			{` [ {"address":"b:1"} ]`, nil},                     // says the same
			{`{`, []string{"failed"}},
			{`{`, nil},
			{`[{"address":"b:1"}]`, []string{"b:1 0 problems"}},
			{`[{"address":"b:1"},{"address":"nowhere"}]`, []string{"b:1 1 problems"}},
			{`{"payments":[{"address":"p:1"}]}`, []string{" 0 problems"}},
			{`{"orders":[{"address":"c:1"}],"payments":[{"address":"p:1"}]}`, []string{"c:1 0 problems"}},
		} {
			d.writeText(t, step.text)
			time.Sleep(2 * time.Second)
			if got := old.take(); !slices.Equal(got, step.want) {
				t.Errorf("%s: reported %q, want %q", step.text, got, step.want)
			}
		}

		if err := os.Remove(d.path); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		late := watch()
		time.Sleep(2 * time.Second)
		if got, want := old.take(), []string{"failed"}; !slices.Equal(got, want) {
			t.Errorf("vanished: reported %q, want %q", got, want)
		}
		if got, want := late.take(), []string{"c:1 0 problems", "failed"}; !slices.Equal(got, want) {
			t.Errorf("vanished before the watch: reported %q, want %q", got, want)
		}
	})
}

func TestAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk(t)
		d.writeText(t, `[{"address":"a:1"}]`)
		file, err := static.File(d.path)
		if err != nil {
			t.Fatal(err)
		}
		list, err := static.New(discovery.Instance{Address: "a:1"})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var watch sync.WaitGroup
		defer watch.Wait()
		defer cancel()
		watch.Go(func() { _ = file.Watch(ctx, discovery.Query{Service: "orders"}, func(discovery.Snapshot) {}) })
		age := func(source discovery.Freshness) time.Duration {
			at, ok := source.Answered(discovery.Query{Service: "orders"})
			if !ok {
				t.Error("no answer")
			}
			return time.Since(at)
		}
		time.Sleep(time.Minute + 500*time.Millisecond)
		if got := age(file); got > time.Second {
			t.Errorf("a file that does not change: %v old", got)
		}
		if err := os.Remove(d.path); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if got := age(file); got < 59*time.Second {
			t.Errorf("a file that is gone: %v old", got)
		}
		if got := age(list); got != 0 {
			t.Errorf("a list: %v old", got)
		}
		if _, ok := list.Answered(discovery.Query{Datacenter: "eu"}); ok {
			t.Error("a query that it refuses has an answer")
		}
	})
}

func TestExplain(t *testing.T) {
	d := newDisk(t)
	d.writeText(t, `{"orders":[{"address":"a:1","tags":["v1"]}],"payments":[]}`)
	file, err := static.File(d.path)
	if err != nil {
		t.Fatal(err)
	}
	list, err := static.New(discovery.Instance{Address: "a:1", Service: "orders", Health: discovery.Critical})
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		source *static.Source
		query  discovery.Query
		want   string
	}{
		{file, discovery.Query{Service: "orders"}, ""},
		{file, discovery.Query{Service: "orders", Tags: []string{"v2"}}, d.path + " has 1, none with the tags and health wanted"},
		{file, discovery.Query{Service: "order"}, d.path + ` has none; it lists ["orders" "payments"]`},
		{list, discovery.Query{Service: "orders"}, "the list has 1, none with the tags and health wanted"},
		{list, discovery.Query{Service: "payments"}, "the list has none"},
	} {
		if got := tc.source.Explain(t.Context(), tc.query); got != tc.want {
			t.Errorf("%+v: %q, want %q", tc.query, got, tc.want)
		}
	}
}
