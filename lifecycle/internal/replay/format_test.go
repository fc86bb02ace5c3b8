package replay

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// recording returns a whole one.
func recording(t testing.TB, records ...Record) []byte {
	t.Helper()
	var b bytes.Buffer
	w := NewWriter(&b)
	for _, r := range records {
		if err := w.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// readAll returns what a reader gives until it fails, and with what.
func readAll(r io.Reader) ([]Record, error) {
	reader := NewReader(r)
	var records []Record
	for {
		rec, err := reader.Next()
		if err != nil {
			return records, err
		}
		records = append(records, rec)
	}
}

func same(a, b Record) bool { return a.Method == b.Method && bytes.Equal(a.Message, b.Message) }

var some = []Record{
	{"/orders.v1.Orders/Get", []byte("first")},
	{"/orders.v1.Orders/Get", nil},
	{"/x/Y", bytes.Repeat([]byte{0, 0xff}, 5000)},
}

// The bytes of version 1 are fixed: recordings are kept, and read by other builds.
func TestFormatIsAsDocumented(t *testing.T) {
	got := recording(t, Record{"/s/M", []byte{1, 2}})
	want := "surecall-replay/1\n" +
		"\x00\x00\x00\x08" + "\xaf\xc8\x24\xe5" + "\x00\x04" + "/s/M" + "\x01\x02" +
		"\x00\x00\x00\x00" + "\x00\x00\x00\x01"
	if string(got) != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	whole := recording(t, some...)
	for name, r := range map[string]io.Reader{
		"at once":      bytes.NewReader(whole),
		"byte by byte": iotest.OneByteReader(bytes.NewReader(whole)),
		"EOF with it":  iotest.DataErrReader(bytes.NewReader(whole)),
		"more behind":  io.MultiReader(bytes.NewReader(whole), strings.NewReader("something else")),
	} {
		if got, err := readAll(r); err != io.EOF || !slices.EqualFunc(got, some, same) {
			t.Errorf("%s: %d records, %v, want %d and io.EOF", name, len(got), err, len(some))
		}
	}
	if got, err := readAll(bytes.NewReader(recording(t))); err != io.EOF || len(got) != 0 {
		t.Errorf("empty recording: %d records, %v, want none and io.EOF", len(got), err)
	}
}

// Wherever a recording is cut, what came whole before is read, and the cut is told.
func TestEveryCutIsTold(t *testing.T) {
	records := []Record{{"/s/A", []byte("one")}, {"/s/B", []byte("two")}}
	whole := recording(t, records...)
	first := len(header) + FrameSize(4, 3)
	for n := range whole {
		got, err := readAll(bytes.NewReader(whole[:n]))
		want := 0
		if n >= first {
			want++
		}
		if n >= first+FrameSize(4, 3) {
			want++
		}
		if !errors.Is(err, ErrTruncated) || !slices.EqualFunc(got, records[:want], same) {
			t.Errorf("cut after %d bytes: %d records, %v, want %d and ErrTruncated", n, len(got), err, want)
		}
	}
}

// No flipped bit goes unseen, and none of a later record touches an earlier one.
func TestEveryFlippedBitIsTold(t *testing.T) {
	records := []Record{{"/s/A", []byte("one")}, {"/s/B", []byte("two")}}
	whole := recording(t, records...)
	first := len(header) + FrameSize(4, 3)
	for n := range len(whole) * 8 {
		flipped := bytes.Clone(whole)
		flipped[n/8] ^= 1 << (n % 8)
		got, err := readAll(bytes.NewReader(flipped))
		if err == nil || err == io.EOF {
			t.Errorf("bit %d of byte %d: not seen", n%8, n/8)
		}
		if n/8 >= first && (len(got) == 0 || !same(got[0], records[0])) {
			t.Errorf("bit %d of byte %d: the record before it is not read: %v", n%8, n/8, err)
		}
	}
}

func TestReaderSaysWhatItGot(t *testing.T) {
	frame := func(size, sum uint32, body string) string {
		b := binary.BigEndian.AppendUint32([]byte(header), size)
		return string(binary.BigEndian.AppendUint32(b, sum)) + body
	}
	summed := func(body string) string { return frame(uint32(len(body)), checksum([]byte(body)), body) }
	tests := []struct{ name, stream, want string }{
		{"nothing", "", "cut off after 0 records"},
		{"next version", "surecall-replay/2\nwhatever", `version "surecall-replay/2": want "surecall-replay/1"`},
		{"HTML", "<!DOCTYPE html><html>", `not a recording: it begins with "<!DOCTYPE html><ht"`},
		{"short text", "nope", `not a recording: it begins with "nope"`},
		{"huge size", frame(1<<31, 0, ""), "size 2147483648: want at most"},
		{"checksum", frame(6, 1, "\x00\x04/s/M"), "checksum"},
		{"body of one byte", summed("\x00"), "size 1: want at least 2"},
		{"method longer than the record", summed("\x00\x09/s/M"), "method of 9 bytes: the record has 4"},
		{"no method", summed("\x00\x00abc"), `method "": want /package.Service/Method`},
		{"method with a line break", summed("\x00\x06/s/M\nx"), `method "/s/M\nx"`},
		{"wrong count", frame(0, 7, ""), "it ends after 0 records and claims 7"},
	}
	for _, tt := range tests {
		if _, err := readAll(strings.NewReader(tt.stream)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
	broken := errors.New("connection reset")
	whole := recording(t, some...)
	got, err := readAll(io.MultiReader(bytes.NewReader(whole[:len(whole)-prefix]), iotest.ErrReader(broken)))
	if len(got) != len(some) || !errors.Is(err, broken) {
		t.Errorf("failing reader: %d records, %v, want all and its error", len(got), err)
	}
}

func TestReaderStaysAtItsError(t *testing.T) {
	r := NewReader(strings.NewReader("nope" + string(recording(t, some...))))
	_, first := r.Next()
	if _, second := r.Next(); first == nil || second != first {
		t.Errorf("first %v, then %v, want the same", first, second)
	}
}

func TestWriterRefusesWhatNoReaderTakes(t *testing.T) {
	for name, rec := range map[string]Record{
		"no slash":      {Method: "orders.v1.Orders/Get"},
		"no service":    {Method: "//Get"},
		"no method":     {Method: "/orders.v1.Orders/"},
		"three parts":   {Method: "/a/b/c"},
		"space":         {Method: "/a/b c"},
		"not ASCII":     {Method: "/ä/b"},
		"long method":   {Method: "/a/" + strings.Repeat("b", MaxMethod)},
		"large message": {Method: "/a/b", Message: make([]byte, MaxMessage+1)},
	} {
		if err := NewWriter(io.Discard).Write(rec); err == nil {
			t.Errorf("%s: written", name)
		}
	}
	largest := Record{"/a/" + strings.Repeat("b", MaxMethod-3), make([]byte, MaxMessage)}
	if got, err := readAll(bytes.NewReader(recording(t, largest))); err != io.EOF || len(got) != 1 {
		t.Errorf("the largest record: %d read, %v", len(got), err)
	}
}

// A size that is claimed costs nothing until the bytes come.
func TestClaimsAreNotAllocated(t *testing.T) {
	claim := binary.BigEndian.AppendUint32([]byte(header), maxBody)
	claim = append(claim, 0, 0, 0, 0, 'x')
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 100 {
		if _, err := readAll(bytes.NewReader(claim)); err == nil {
			t.Fatal("read")
		}
	}
	runtime.ReadMemStats(&after)
	if got := (after.TotalAlloc - before.TotalAlloc) / 100; got > 16<<10 {
		t.Errorf("%d bytes allocated for 1 that came, want at most 16 KiB", got)
	}
}

func FuzzReader(f *testing.F) {
	f.Add(recording(f, some...))
	f.Add([]byte(header))
	f.Add([]byte("surecall-replay/9\n"))
	f.Add(append([]byte(header), 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0))
	f.Fuzz(func(t *testing.T, stream []byte) {
		records, err := readAll(iotest.HalfReader(bytes.NewReader(stream)))
		if err == nil {
			t.Fatal("a reader that never ends")
		}
		size := 0
		for _, r := range records {
			size += FrameSize(len(r.Method), len(r.Message))
		}
		if size > len(stream) {
			t.Fatalf("%d bytes of records from a stream of %d", size, len(stream))
		}
		// What was read is valid: it can be written, and reads the same.
		again, err := readAll(bytes.NewReader(recording(t, records...)))
		if err != io.EOF || !slices.EqualFunc(again, records, same) {
			t.Fatalf("written again: %d of %d records, %v", len(again), len(records), err)
		}
	})
}
