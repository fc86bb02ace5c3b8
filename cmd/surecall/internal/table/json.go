package table

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf16"
)

// JSON returns a JSON document that means the same, and that a terminal may be given: what
// clean escapes is escaped as JSON does. Such characters stand in strings only.
func JSON(content []byte) string {
	var b strings.Builder
	for _, r := range string(content) {
		switch {
		case r == '\n' || r >= ' ' && r < 0x7f:
			b.WriteRune(r)
		case unicode.IsPrint(r) && !turns(r):
			b.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}
