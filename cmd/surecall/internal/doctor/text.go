package doctor

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// mostText bounds a line, in characters: registries hold what anybody wrote.
const mostText = 400

// fit makes one printable line of text that may come from outside: what does not print,
// escape sequences and directions of writing above all, is escaped.
func fit(text string) string {
	var b strings.Builder
	n := 0
	for _, r := range text {
		if n++; n > mostText {
			b.WriteString("…")
			break
		}
		switch {
		case r == '\n' || r == '\t' || r == '\r':
			b.WriteByte(' ')
		case r == utf8.RuneError || unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		}
	}
	return strings.TrimSpace(b.String())
}

// secrets are the texts that no line may have.
type secrets []string

func (s *secrets) add(texts ...string) {
	for _, text := range texts {
		if text = strings.TrimSpace(text); text != "" {
			*s = append(*s, text)
		}
	}
}

func (s secrets) hide(text string) string {
	for _, secret := range s {
		text = strings.ReplaceAll(text, secret, "***")
	}
	return text
}

// short is [short] of text that may have a secret, which must not be cut in two.
func (w *walk) short(text string) string { return short(w.secrets.hide(text)) }

// count says "1 fault" or "2 faults".
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	ending := "s"
	if strings.HasSuffix(what, "s") {
		ending = "es"
	}
	return fmt.Sprintf("%d %s%s", n, what, ending)
}

// short is one clause out of text from outside, for use within a line.
func short(text string) string {
	const most = 160
	text = strings.Join(strings.Fields(strings.ToValidUTF8(text, "\uFFFD")), " ")
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return cmp.Or(text, "no reason given")
}

// some names up to three of list.
func some(list []string) string {
	const most = 3
	short := make([]string, 0, most)
	for _, text := range list[:min(len(list), most)] {
		short = append(short, fmt.Sprintf("%.100s", text))
	}
	if len(list) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(short, ", "), len(list)-most)
	}
	return strings.Join(short, ", ")
}

// share says "all 3", "the only one" or "1 of 3".
func share(n, all int) string {
	switch {
	case n == all && n == 1:
		return "the only instance"
	case n == all:
		return fmt.Sprintf("all %d instances", all)
	default:
		return fmt.Sprintf("%d of %d instances", n, all)
	}
}
