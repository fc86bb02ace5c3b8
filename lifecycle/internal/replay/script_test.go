package replay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	_ "github.com/surecall/surecall/examples/orders"
)

const plenty = 1 << 20

func load(t *testing.T, r io.Reader, m Methods, perMethod int, maxBytes int64) (Script, error) {
	t.Helper()
	return Load(t.Context(), r, m, perMethod, maxBytes)
}

func TestLoadTakesWhatMayBeReplayed(t *testing.T) {
	var records []Record
	for n := range 5 {
		records = append(records, Record{get, fmt.Append(nil, n)}, Record{place, nil}, Record{"/orders.v1.Orders/Watch", nil})
	}
	s, err := load(t, bytes.NewReader(recording(t, records...)), Methods{}, 3, plenty)
	if err != nil || s.Incomplete != nil {
		t.Fatal(err, s.Incomplete)
	}
	if len(s.Lines) != 1 || s.Lines[0].Method != get || len(s.Lines[0].Messages) != 3 {
		t.Errorf("took %v, want three of Get", s.Lines)
	}
	want := []string{place + " (is not marked NO_SIDE_EFFECTS)", "/orders.v1.Orders/Watch (is a stream)"}
	if fmt.Sprint(s.PassedOver) != fmt.Sprint(want) {
		t.Errorf("passed over %v, want %v", s.PassedOver, want)
	}
}

func TestLoadUsesWhatComesBeforeTheDamage(t *testing.T) {
	whole := recording(t, Record{get, []byte("1")}, Record{get, []byte("2")}, Record{get, []byte("3")})
	gone := errors.New("peer gone")
	for name, r := range map[string]io.Reader{
		"cut":    bytes.NewReader(whole[:len(whole)-prefix-1]),
		"failed": io.MultiReader(bytes.NewReader(whole[:len(whole)-prefix-1]), iotest.ErrReader(gone)),
		"long":   bytes.NewReader(append(whole[:len(whole):len(whole)], "never read"...)),
	} {
		most := int64(plenty)
		if name == "long" {
			most = int64(len(whole) - prefix - 1)
		}
		s, err := load(t, r, Methods{}, 10, most)
		if err != nil || len(s.Lines) != 1 || len(s.Lines[0].Messages) != 2 {
			t.Errorf("%s: %v, %v, want the first two", name, s.Lines, err)
		}
		if s.Incomplete == nil {
			t.Errorf("%s: not told", name)
		}
	}
}

func TestLoadReadsNoMoreThanItMay(t *testing.T) {
	whole := recording(t, Record{get, []byte("1")})
	if s, err := load(t, bytes.NewReader(whole), Methods{}, 10, int64(len(whole))); err != nil || s.Incomplete != nil {
		t.Errorf("as long as it may be: %v, %v", s.Incomplete, err)
	}
	endless := io.MultiReader(bytes.NewReader(whole[:len(whole)-prefix]), zeros{})
	if _, err := load(t, endless, Methods{}, 10, plenty); err != nil {
		t.Errorf("endless: %v", err)
	}
}

// zeros is an endless stream.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func TestLoadFailsWithoutARecordToReplay(t *testing.T) {
	tests := []struct{ name, stream, want string }{
		{"empty", string(recording(t)), "replay: no record to replay among 0"},
		{"side effects", string(recording(t, Record{place, nil})), "among 1: " + place + " (is not marked NO_SIDE_EFFECTS)"},
		{"not a recording", "<html>", "not a recording"},
		{"cut in the first", string(recording(t, Record{get, nil})[:30]), "cut off"},
		{"cut after what is not replayed", string(recording(t, Record{place, nil}, Record{get, nil})[:70]), "among 1"},
	}
	for _, tt := range tests {
		if _, err := load(t, strings.NewReader(tt.stream), Methods{}, 10, plenty); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}

func TestLoadEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("stopped at once")
	cancel(why)
	if _, err := Load(ctx, bytes.NewReader(recording(t, Record{get, nil})), Methods{}, 1, plenty); !errors.Is(err, why) {
		t.Errorf("got %v, want the cause", err)
	}
}

func TestLoadBoundsTheMethods(t *testing.T) {
	var records []Record
	for n := range maxMethods + 100 {
		records = append(records, Record{fmt.Sprintf("/s/M%04d", n), nil})
	}
	s, err := load(t, bytes.NewReader(recording(t, records...)), all, 1, plenty)
	if err != nil || len(s.Lines) != maxMethods {
		t.Errorf("%d methods, %v, want %d", len(s.Lines), err, maxMethods)
	}
	if s, err = load(t, bytes.NewReader(recording(t, records...)), Methods{}, 1, plenty); err == nil || len(s.PassedOver) != maxPassed {
		t.Errorf("%d methods named, %v, want %d and an error", len(s.PassedOver), err, maxPassed)
	}
}

func FuzzLoad(f *testing.F) {
	f.Add(recording(f, Record{get, []byte("1")}, Record{place, nil}), uint8(2), uint16(100))
	f.Fuzz(func(t *testing.T, stream []byte, perMethod uint8, maxBytes uint16) {
		s, err := Load(t.Context(), bytes.NewReader(stream), all, int(perMethod)+1, int64(maxBytes)+1)
		if (err == nil) != (len(s.Lines) > 0) {
			t.Fatalf("%d methods and %v", len(s.Lines), err)
		}
		size := 0
		for _, line := range s.Lines {
			if len(line.Messages) == 0 || len(line.Messages) > int(perMethod)+1 {
				t.Fatalf("%d messages, want 1 to %d", len(line.Messages), int(perMethod)+1)
			}
			for _, m := range line.Messages {
				size += FrameSize(len(line.Method), len(m))
			}
		}
		if size > int(maxBytes)+1 {
			t.Fatalf("%d bytes taken, want at most %d", size, int(maxBytes)+1)
		}
	})
}
