package replay

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Reader reads a recording. It is not safe for concurrent use.
type Reader struct {
	r       io.Reader
	begun   bool
	records uint32
	body    bytes.Buffer
	err     error // what the last Next returned; it stays
}

// NewReader returns a reader of r, from which it reads in small pieces.
func NewReader(r io.Reader) *Reader { return &Reader{r: r} }

// Next returns the next record, whose message is the caller's to keep. The error is
// io.EOF at the end of a whole recording, [ErrTruncated] if it was cut off, and what
// is wrong with it or its reader otherwise; it is returned again from then on.
func (r *Reader) Next() (Record, error) {
	if r.err != nil {
		return Record{}, r.err
	}
	rec, err := r.next()
	r.err = err
	return rec, err
}

func (r *Reader) next() (Record, error) {
	if !r.begun {
		if err := r.begin(); err != nil {
			return Record{}, err
		}
		r.begun = true
	}
	var head [prefix]byte
	if _, err := io.ReadFull(r.r, head[:]); err != nil {
		return Record{}, r.cut(err)
	}
	size, sum := binary.BigEndian.Uint32(head[:]), binary.BigEndian.Uint32(head[4:])
	if size == 0 {
		if sum != r.records {
			return Record{}, fmt.Errorf("replay: damaged: it ends after %d records and claims %d", r.records, sum)
		}
		return Record{}, io.EOF
	}
	if size > maxBody {
		return Record{}, r.damaged(fmt.Errorf("size %d: want at most %d", size, maxBody))
	}
	// The buffer grows with what really comes, whatever the size says.
	r.body.Reset()
	if _, err := io.CopyN(&r.body, r.r, int64(size)); err != nil {
		return Record{}, r.cut(err)
	}
	rec, err := parse(r.body.Bytes(), sum)
	if err != nil {
		return Record{}, r.damaged(err)
	}
	r.records++
	return rec, nil
}

// begin reads the header.
func (r *Reader) begin() error {
	got := make([]byte, len(header))
	n, err := io.ReadFull(r.r, got)
	switch begins := string(got[:n]); {
	case begins == header:
		return nil
	case n > 0 && strings.HasPrefix(header, begins), n == 0 && errors.Is(err, io.EOF):
		return r.cut(err)
	case err != nil && !errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("replay: read: %w", err)
	case strings.HasPrefix(begins, family):
		version, _, _ := strings.Cut(begins, "\n")
		return fmt.Errorf("replay: version %q: want %q", version, strings.TrimSpace(header))
	default:
		return fmt.Errorf("replay: not a recording: it begins with %q, want %q", begins, header)
	}
}

func parse(body []byte, sum uint32) (Record, error) {
	if got := checksum(body); got != sum {
		return Record{}, fmt.Errorf("checksum %08x: want %08x", got, sum)
	}
	if len(body) < 2 {
		return Record{}, fmt.Errorf("size %d: want at least 2", len(body))
	}
	length, rest := int(binary.BigEndian.Uint16(body)), body[2:]
	if length > len(rest) {
		return Record{}, fmt.Errorf("method of %d bytes: the record has %d", length, len(rest))
	}
	rec := Record{Method: string(rest[:length]), Message: bytes.Clone(rest[length:])}
	if err := checkMethod(rec.Method); err != nil {
		return Record{}, err
	}
	if len(rec.Message) > MaxMessage {
		return Record{}, fmt.Errorf("message of %d bytes: want at most %d", len(rec.Message), MaxMessage)
	}
	return rec, nil
}

// cut tells a stream that ended from one that failed.
func (r *Reader) cut(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w after %d records", ErrTruncated, r.records)
	}
	return fmt.Errorf("replay: read after %d records: %w", r.records, err)
}

func (r *Reader) damaged(err error) error {
	return fmt.Errorf("replay: damaged after %d records: %w", r.records, err)
}
