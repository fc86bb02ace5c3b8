package table

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxText bounds a text where the terminal's width does not.
const maxText = 512

// maxMarks is how many marks may stand on one letter, more than any script needs.
const maxMarks = 2

// clean returns text as a terminal may be given it, cut to limit columns, how many columns
// it has, and whether something was cut off. Cleaning twice changes nothing.
func clean(text string, limit int, ascii bool) (cleaned string, width int, cut bool) {
	var b strings.Builder
	marks := maxMarks // none may stand at the beginning, where they would be the column's before
	for len(text) > 0 {
		r, size := utf8.DecodeRuneInString(text)
		piece, columns := show(r, text[:size], ascii, marks)
		if width+columns > limit {
			return b.String(), width, true
		}
		if columns > 0 {
			marks = 0
		} else {
			marks++
		}
		text = text[size:]
		width += columns
		b.WriteString(piece)
	}
	return b.String(), width, false
}

// show returns how a character is written, and in how many columns. raw is what stood
// for it, marks how many the letter before it has already.
func show(r rune, raw string, ascii bool, marks int) (piece string, columns int) {
	switch {
	case r >= ' ' && r < 0x7f:
		return raw, 1
	case r == utf8.RuneError && len(raw) == 1:
		piece = `\x` + strconv.FormatUint(uint64(raw[0]), 16)
	case r == '\n' || r == '\t' || r == '\r':
		return " ", 1
	case ascii && r == '…':
		return "~", 1
	case ascii && r == '·':
		return "|", 1
	case !ascii && unicode.Is(unicode.Zs, r):
		return " ", 1
	case ascii || !unicode.IsPrint(r) || turns(r) || unicode.Is(unicode.Variation_Selector, r):
		piece = escaped(r)
	case unicode.In(r, unicode.Mn, unicode.Me):
		if marks < maxMarks {
			return raw, 0
		}
		piece = escaped(r)
	case wide(r):
		return raw, 2
	default:
		return raw, 1
	}
	return piece, len(piece)
}

func escaped(r rune) string {
	quoted := strconv.QuoteRuneToASCII(r)
	return quoted[1 : len(quoted)-1]
}

// turns reports whether r is written from right to left, which turns what stands beside
// it as well.
func turns(r rune) bool {
	return in(r, [][2]rune{{0x590, 0x8ff}, {0xfb1d, 0xfdff}, {0xfe70, 0xfeff}, {0x10800, 0x10fff}, {0x1e800, 0x1efff}})
}

// wide reports whether r takes two columns, in doubt yes: the blocks that Unicode's
// East_Asian_Width has as wide, and all pictures.
func wide(r rune) bool {
	return in(r, [][2]rune{
		{0x1100, 0x115f}, {0x231a, 0x231b}, {0x2329, 0x232a}, {0x23e9, 0x23f3}, {0x25fd, 0x25fe}, {0x2614, 0x2615},
		{0x2630, 0x2637}, {0x2648, 0x2653}, {0x267f, 0x267f}, {0x268a, 0x268f}, {0x2693, 0x2693}, {0x26a1, 0x26a1},
		{0x26aa, 0x26ab}, {0x26bd, 0x26be}, {0x26c4, 0x26c5}, {0x26ce, 0x26ce}, {0x26d4, 0x26d4}, {0x26ea, 0x26ea},
		{0x26f2, 0x26f5}, {0x26fa, 0x26fd}, {0x2705, 0x2705}, {0x270a, 0x270b}, {0x2728, 0x2728}, {0x274c, 0x274e},
		{0x2753, 0x2757}, {0x2795, 0x2797}, {0x27b0, 0x27bf}, {0x2b1b, 0x2b1c}, {0x2b50, 0x2b55},
		{0x2e80, 0xa4cf}, {0xa960, 0xa97f}, {0xac00, 0xd7ff}, {0xf900, 0xfaff}, {0xfe10, 0xfe6f}, {0xff01, 0xff60},
		{0xffe0, 0xffe6}, {0x16fe0, 0x18fff}, {0x1aff0, 0x1b2ff}, {0x1d300, 0x1d37f}, {0x1f000, 0x3fffd},
	})
}

func in(r rune, ranges [][2]rune) bool {
	for _, span := range ranges {
		if r >= span[0] && r <= span[1] {
			return true
		}
	}
	return false
}

// shorten returns text cleaned and at most limit columns wide; what is missing is told by
// a mark at its end.
func shorten(text string, limit int, ascii bool) (short string, width int) {
	short, width, cut := clean(text, limit, ascii)
	if !cut || limit < 1 {
		return short, width
	}
	short, width, _ = clean(text, limit-1, ascii)
	return short + ellipsis(ascii), width + 1
}

func ellipsis(ascii bool) string {
	if ascii {
		return "~"
	}
	return "…"
}
