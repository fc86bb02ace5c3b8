package status_test

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// parse reads Prometheus' text format, more strictly than Prometheus does: a metric has one
// HELP, then one TYPE, then its series, each once, with labels of unlike names; the text is
// UTF-8 without NUL; a counter's name ends in _total, and only a counter's. It returns the
// values by series, as `name{label="value"}` with the values not escaped.
func parse(text string) (map[string]float64, error) {
	p := parser{samples: map[string]float64{}, seen: map[string]bool{}}
	if !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
		return nil, errors.New("not UTF-8, or NUL")
	}
	if text == "" {
		return p.samples, nil
	}
	body, ok := strings.CutSuffix(text, "\n")
	if !ok {
		return nil, errors.New("no newline at the end")
	}
	for line := range strings.SplitSeq(body, "\n") {
		if err := p.line(line); err != nil {
			return nil, fmt.Errorf("%w: %q", err, line)
		}
	}
	return p.samples, nil
}

type parser struct {
	samples map[string]float64
	seen    map[string]bool // metrics
	helped  string          // the metric of the last HELP
	typed   string          // that of the last TYPE
}

var (
	helpLine   = regexp.MustCompile(`^# HELP ([a-zA-Z_:][a-zA-Z0-9_:]*) (.+)$`)
	typeLine   = regexp.MustCompile(`^# TYPE ([a-zA-Z_:][a-zA-Z0-9_:]*) (counter|gauge)$`)
	sampleLine = regexp.MustCompile(`^([a-zA-Z_:][a-zA-Z0-9_:]*)\{((?s:.*))\} (\S+)$`)
	labelText  = regexp.MustCompile(`^([a-zA-Z_][a-zA-Z0-9_]*)="((?s:[^"\\]|\\["\\n])*)"(,|$)`)
	unescape   = strings.NewReplacer(`\\`, `\`, `\"`, `"`, `\n`, "\n")
)

func (p *parser) line(line string) error {
	if m := helpLine.FindStringSubmatch(line); m != nil {
		if p.seen[m[1]] {
			return errors.New("a second HELP")
		}
		p.seen[m[1]], p.helped = true, m[1]
		return nil
	}
	if m := typeLine.FindStringSubmatch(line); m != nil {
		if p.helped != m[1] || p.typed == m[1] {
			return errors.New("TYPE without its HELP before it, or a second one")
		}
		if (m[2] == "counter") != strings.HasSuffix(m[1], "_total") {
			return errors.New("a counter's name ends in _total, and only a counter's")
		}
		p.typed = m[1]
		return nil
	}
	m := sampleLine.FindStringSubmatch(line)
	if m == nil {
		return errors.New("neither HELP, TYPE nor a series")
	}
	if m[1] != p.typed {
		return errors.New("not under its TYPE")
	}
	labels, err := parseLabels(m[2])
	if err != nil {
		return err
	}
	value, err := strconv.ParseFloat(m[3], 64)
	if err != nil {
		return err
	}
	series := m[1] + "{" + labels + "}"
	if _, twice := p.samples[series]; twice {
		return errors.New("a series twice")
	}
	p.samples[series] = value
	return nil
}

// parseLabels returns the labels, not escaped.
func parseLabels(text string) (string, error) {
	var all []string
	names := map[string]bool{}
	for text != "" {
		m := labelText.FindStringSubmatch(text)
		if m == nil {
			return "", fmt.Errorf("not a label: %q", text)
		}
		if names[m[1]] {
			return "", fmt.Errorf("label %s twice", m[1])
		}
		names[m[1]] = true
		value := strings.TrimSuffix(strings.TrimSuffix(m[0], m[3]), `"`)[len(m[1])+2:]
		all = append(all, m[1]+`="`+unescape.Replace(value)+`"`)
		text = text[len(m[0]):]
	}
	return strings.Join(all, ","), nil
}
