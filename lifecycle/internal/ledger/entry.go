package ledger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// state is how far a call has come.
type state byte

const (
	running state = 'r' // body: the lease in ms, the number of renewals, the owner
	free    state = 'f' // to be executed by whoever comes
	settled state = 's' // body: the outcome
	format        = 1   // of all entries
)

// maxLease bounds what is believed of a lease that somebody else wrote.
const maxLease = time.Hour

// entry is a record's value as it is read: one byte of format, one of state, the body.
type entry struct {
	state   state
	lease   time.Duration
	owner   string
	outcome []byte
}

func parse(value []byte) (entry, error) {
	if len(value) < 2 || value[0] != format {
		return entry{}, fmt.Errorf("a record of %d bytes is none of this format", len(value))
	}
	e, body := entry{state: state(value[1])}, value[2:]
	switch e.state {
	case free:
	case settled:
		e.outcome = body
	case running:
		ms, n := binary.Uvarint(body)
		if n <= 0 || ms == 0 || ms > uint64(maxLease.Milliseconds()) {
			return entry{}, fmt.Errorf("a record's lease is %d ms: want more than 0 and at most %v", ms, maxLease)
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

func runningValue(lease time.Duration, beats uint64, owner string) []byte {
	value := append(make([]byte, 0, 40), format, byte(running))
	value = binary.AppendUvarint(value, uint64(lease.Milliseconds()))
	return append(binary.AppendUvarint(value, beats), owner...)
}

func freeValue() []byte { return []byte{format, byte(free)} }

func settledValue(outcome []byte) []byte {
	return append(append(make([]byte, 0, 2+len(outcome)), format, byte(settled)), outcome...)
}
