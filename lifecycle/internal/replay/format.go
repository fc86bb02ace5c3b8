package replay

import (
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
)

// The bounds of a record.
const (
	MaxMethod  = 1 << 10
	MaxMessage = 4 << 20
)

const (
	family  = "surecall-replay/"
	header  = family + "1\n"
	prefix  = 8 // size and checksum
	maxBody = 2 + MaxMethod + MaxMessage
)

// ErrTruncated is a stream that ends before its end mark.
var ErrTruncated = errors.New("replay: the recording was cut off")

// Record is one request.
type Record struct {
	Method  string
	Message []byte
}

// checkMethod reports whether a method has the form of one. What gRPC would refuse to
// send, or an operator could not read in an error, has not.
func checkMethod(method string) error {
	if len(method) > MaxMethod {
		return fmt.Errorf("method of %d bytes: want at most %d", len(method), MaxMethod)
	}
	service, name, _ := strings.Cut(strings.TrimPrefix(method, "/"), "/")
	printable := strings.IndexFunc(method, func(r rune) bool { return r <= ' ' || r > '~' }) < 0
	if !strings.HasPrefix(method, "/") || service == "" || name == "" || strings.Contains(name, "/") || !printable {
		return fmt.Errorf("method %q: want /package.Service/Method", method)
	}
	return nil
}

func checksum(body []byte) uint32 { return crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)) }
