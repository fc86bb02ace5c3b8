package discovery

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxAddress bounds the length of an address: 253 bytes of host name and a port, or
// a socket path, with room to spare.
const maxAddress = 1024

// Sanitize returns the instances of set that can be used, mended where that is
// safe, and what was wrong with the others. What comes from a registry is input:
//
//	no usable address            skipped
//	a second one of the same ID  skipped (the first stays)
//	ID empty                     becomes the address
//	weight below 0               becomes 1
//	weight above MaxWeight       becomes MaxWeight
//	broken UTF-8 in an ID, region, zone or incarnation: replaced by U+FFFD
//
// set is not changed. The result of an empty set is empty, never nil.
func Sanitize(set []Instance) ([]Instance, []Problem) {
	clean := make([]Instance, 0, len(set))
	seen := make(map[string]struct{}, len(set))
	var problems []Problem
	for _, i := range set {
		mended := false
		for _, text := range []*string{&i.ID, &i.Incarnation, &i.Region, &i.Zone} {
			mended = mended || !utf8.ValidString(*text)
			*text = strings.ToValidUTF8(*text, "\uFFFD")
		}
		if mended {
			problems = append(problems, Problem{i.ID, "has text that is not UTF-8: replaced by U+FFFD"})
		}
		if err := CheckAddress(i.Address); err != nil {
			problems = append(problems, Problem{i.ID, fmt.Sprintf("address %.80q: %v: skipped", i.Address, err)})
			continue
		}
		if i.ID == "" {
			i.ID = i.Address
		}
		if _, dup := seen[i.ID]; dup {
			problems = append(problems, Problem{i.ID, "ID is registered twice: " + i.Address + " skipped"})
			continue
		}
		seen[i.ID] = struct{}{}
		switch {
		case i.Weight < 0:
			problems = append(problems, Problem{i.ID, fmt.Sprintf("weight %d: used as 1", i.Weight)})
			i.Weight = 1
		case i.Weight == 0:
			i.Weight = 1
		case i.Weight > MaxWeight:
			problems = append(problems, Problem{i.ID, fmt.Sprintf("weight %d: used as %d", i.Weight, MaxWeight)})
			i.Weight = MaxWeight
		}
		clean = append(clean, i)
	}
	return clean, problems
}

// CheckAddress reports why address cannot be dialled: nil for "host:port" with a
// port of 1 to 65535, "[ipv6]:port", and "unix:path".
func CheckAddress(address string) error {
	switch {
	case address == "":
		return errors.New("is empty: want host:port or unix:path")
	case len(address) > maxAddress:
		return fmt.Errorf("is %d bytes long: want at most %d", len(address), maxAddress)
	case !utf8.ValidString(address):
		return errors.New("is not UTF-8")
	case strings.ContainsFunc(address, func(r rune) bool { return r <= ' ' || r == 0x7f }):
		return errors.New("has a space or control character")
	}
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		if path == "" {
			return errors.New("has no socket path: want unix:path")
		}
		return nil
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("want host:port, [ipv6]:port or unix:path: %w", err)
	}
	if host == "" {
		return errors.New("has no host: want host:port")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("port %q: want 1 to 65535", port)
	}
	return nil
}
