package doctor

import (
	"fmt"
	"io"
	"strings"
)

// Status is the result of a step.
type Status string

// The results, and how they are spelled in JSON.
const (
	OK    Status = "ok"
	Warn  Status = "warn"
	Fault Status = "fault"
	Skip  Status = "skip"
)

// Step is one step of the walk. Its text is one line, fit for a terminal.
type Step struct {
	Name   string `json:"step"`
	Status Status `json:"status"`
	Text   string `json:"text"`
	// Remedy says what to do; only a warning or a fault has one.
	Remedy string `json:"remedy,omitempty"`
}

// WriteTo writes the step as a line, and its remedy as another one.
func (s Step) WriteTo(w io.Writer) (int64, error) {
	status := string(s.Status)
	if s.Status == Fault {
		status = strings.ToUpper(status)
	}
	text := fmt.Sprintf("%-6s %-13s %s\n", status, s.Name, s.Text)
	if s.Remedy != "" {
		text += fmt.Sprintf("%-6s %-13s %s\n", "", "→ remedy", s.Remedy)
	}
	n, err := io.WriteString(w, text)
	return int64(n), err
}

// Report is what a walk found.
type Report struct {
	// Target is what was examined, without token and password.
	Target string `json:"target"`
	// Healthy is true if the walk came to its end and no step is a fault. There may be
	// warnings.
	Healthy bool   `json:"healthy"`
	Steps   []Step `json:"steps"`
}

// Summary is the walk in one line.
func (r *Report) Summary() string {
	var faults, warnings int
	for _, s := range r.Steps {
		switch s.Status {
		case Fault:
			faults++
		case Warn:
			warnings++
		}
	}
	text := "no fault found"
	switch {
	case faults > 0:
		text = count(faults, "fault")
	case !r.Healthy:
		text = "interrupted"
	}
	if warnings > 0 {
		text += ", " + count(warnings, "warning")
	}
	return text
}

// ExitCode is that of a command that reports r: 0, or 1 if r is not healthy.
func (r *Report) ExitCode() int {
	if r.Healthy {
		return 0
	}
	return 1
}

// names are the steps of a walk through Consul, in their order.
var names = []string{
	"target", "agent", "leader", "token", "service", "query", "checks",
	"registration", "dial", "protocol", "tls", "auth", "draining", "health",
}
