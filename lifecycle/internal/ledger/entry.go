package ledger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/surecall/surecall/lifecycle/once"
)

// state is how far a call has come.
type state byte

const (
	running state = 'r' // body: the request, the lease in ms, the number of renewals, the owner
	free    state = 'f' // to be executed by whoever comes
	settled state = 's' // body: the request, the outcome
	format        = 1   // of all entries
)

// Request is a digest of what is asked, by which two requests are told apart.
type Request [16]byte

// entry is a record's value as it is read: one byte of format, one of state, the body.
type entry struct {
	state   state
	request Request
	lease   time.Duration
	owner   string
	outcome []byte
}

func parse(value []byte) (entry, error) {
	if len(value) < 2 || value[0] != format {
		return entry{}, fmt.Errorf("a record of %d bytes is none of this format", len(value))
	}
	e, body := entry{state: state(value[1])}, value[2:]
	if e.state == running || e.state == settled {
		n := copy(e.request[:], body)
		if body = body[n:]; n < len(e.request) {
			return entry{}, fmt.Errorf("a record has %d bytes of its request's digest: want %d", n, len(e.request))
		}
	}
	switch e.state {
	case free:
	case settled:
		e.outcome = body
	case running:
		ms, n := binary.Uvarint(body)
		if n <= 0 || ms == 0 || ms > uint64(once.MaxLease.Milliseconds()) {
			return entry{}, fmt.Errorf("a record's lease is %d ms: want more than 0 and at most %v", ms, once.MaxLease)
		}
		_, m := binary.Uvarint(body[n:])
		if m <= 0 {
			return entry{}, errors.New("a record has no number of renewals")
		}
		e.lease, e.owner = time.Duration(ms)*time.Millisecond, string(body[n+m:])
	default:
		return entry{}, fmt.Errorf("a record's state is %q", value[1])
	}
	return e, nil
}

func runningValue(r Request, lease time.Duration, beats uint64, owner string) []byte {
	value := append(make([]byte, 0, 64), format, byte(running))
	value = binary.AppendUvarint(append(value, r[:]...), uint64(lease.Milliseconds()))
	return append(binary.AppendUvarint(value, beats), owner...)
}

func freeValue() []byte { return []byte{format, byte(free)} }

func settledValue(r Request, outcome []byte) []byte {
	value := append(make([]byte, 0, 2+len(r)+len(outcome)), format, byte(settled))
	return append(append(value, r[:]...), outcome...)
}
