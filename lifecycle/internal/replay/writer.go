package replay

import (
	"encoding/binary"
	"fmt"
	"io"
)

// Writer writes a recording. It is not safe for concurrent use.
type Writer struct {
	w       io.Writer
	begun   bool
	records uint32
	frame   []byte // one record at a time: w may be unbuffered
}

// NewWriter returns a writer to w, which gets one Write per record.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// Write writes a record. After an error of w the recording is of no more use.
func (w *Writer) Write(r Record) error {
	if err := checkMethod(r.Method); err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	if len(r.Message) > MaxMessage {
		return fmt.Errorf("replay: message of %d bytes to %s: want at most %d", len(r.Message), r.Method, MaxMessage)
	}
	f := append(w.frame[:0], make([]byte, prefix)...)
	f = binary.BigEndian.AppendUint16(f, uint16(len(r.Method)))
	f = append(f, r.Method...)
	f = append(f, r.Message...)
	binary.BigEndian.PutUint32(f, uint32(len(f)-prefix))
	binary.BigEndian.PutUint32(f[4:], checksum(f[prefix:]))
	w.frame = f
	if err := w.write(f); err != nil {
		return err
	}
	w.records++
	return nil
}

// Close writes the end, without which the recording counts as cut off. It does not
// close the writer below.
func (w *Writer) Close() error {
	end := make([]byte, prefix)
	binary.BigEndian.PutUint32(end[4:], w.records)
	return w.write(end)
}

func (w *Writer) write(frame []byte) error {
	if !w.begun {
		frame = append([]byte(header), frame...)
		w.begun = true
	}
	if _, err := w.w.Write(frame); err != nil {
		return fmt.Errorf("replay: write: %w", err)
	}
	return nil
}
