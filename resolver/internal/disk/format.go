package disk

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/surecall/surecall/discovery"
)

// MaxSize bounds a file: about 40,000 instances with a few labels each.
const MaxSize = 16 << 20

const (
	magic     = "surecall snapshot "
	version   = "1"
	maxHeader = 128 // bytes
)

// Snapshot is what a file holds.
type Snapshot struct {
	Written   time.Time // when the source last vouched for it
	Instances []discovery.Instance
}

// Identity says whose snapshot a file holds. It contains no secret.
type Identity struct {
	// Origin names the source: the same query of another registry is another service.
	Origin string          `json:"origin"`
	Query  discovery.Query `json:"query"`
}

// text is the identity in one form.
func (id Identity) text() []byte {
	text, _ := json.Marshal(id) // strings and a number: cannot fail
	return text
}

// file is the name of the identity's file. What people named decides only how it begins.
func (id Identity) file() string {
	readable := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-':
			return r
		}
		return '_'
	}, id.Query.Service)
	sum := sha256.Sum256(id.text())
	return readable[:min(len(readable), 40)] + "-" + hex.EncodeToString(sum[:8]) + ".snapshot"
}

type body struct {
	Written   time.Time            `json:"written"`
	Of        json.RawMessage      `json:"of"`
	Instances []discovery.Instance `json:"instances"`
}

func encode(id Identity, s Snapshot) ([]byte, error) {
	text, err := json.Marshal(body{s.Written, id.text(), s.Instances})
	if err != nil {
		return nil, err
	}
	data := seal(text)
	if len(data) > MaxSize {
		return nil, fmt.Errorf("%d instances take %d bytes: want at most %d", len(s.Instances), len(data), MaxSize)
	}
	return data, nil
}

// seal puts the header before a body.
func seal(text []byte) []byte { return append(header(version, text), text...) }

func header(version string, text []byte) []byte {
	return fmt.Appendf(nil, "%s%s %d %x\n", magic, version, len(text), sha256.Sum256(text))
}

// decode returns the snapshot in data if it is one of id's, or says why it is not.
func decode(data []byte, id Identity) (Snapshot, error) {
	end := bytes.IndexByte(data[:min(len(data), maxHeader)], '\n') + 1
	head, text := data[:end], data[end:]
	fields := strings.Fields(strings.TrimPrefix(string(head), magic))
	if !bytes.HasPrefix(head, []byte(magic)) || len(fields) == 0 {
		return Snapshot{}, errors.New("it is not a snapshot of surecall, or cut off")
	}
	if fields[0] != version {
		return Snapshot{}, fmt.Errorf("it is of format %.20q: want %s", fields[0], version)
	}
	if !bytes.Equal(head, header(version, text)) {
		return Snapshot{}, fmt.Errorf("it is cut off or was changed: its %d bytes are not those that were written", len(text))
	}
	var b body
	if err := json.Unmarshal(text, &b); err != nil {
		return Snapshot{}, fmt.Errorf("its text is broken: %w", err)
	}
	if !bytes.Equal(b.Of, id.text()) {
		return Snapshot{}, errors.New("it is the snapshot of another source or query")
	}
	return Snapshot{b.Written, b.Instances}, nil
}
