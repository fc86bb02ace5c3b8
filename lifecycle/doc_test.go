package lifecycle

import (
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
)

// The table of leaving in the documentation says what is so.
func TestTheTableOfLeaving(t *testing.T) {
	source, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(source), "takes at most  Drain.\n")
	table, _, found := strings.Cut(table, "\n//\n")
	if !found {
		t.Fatal("no table")
	}
	defaults := reflect.ValueOf(Drain{}.withDefaults())
	var sum time.Duration
	rows := make(map[string]int)
	for _, m := range regexp.MustCompile(`(?m)^//\t(.*?) +([0-9.]+) s(?: +(\S.*))?$`).FindAllStringSubmatch(table, -1) {
		says, err := time.ParseDuration(m[2] + "s")
		if err != nil {
			t.Fatal(err)
		}
		field, _, _ := strings.Cut(m[3], ",")
		rows[field]++
		var is time.Duration
		switch field {
		case "": // the last line
			is = sum
		case "–":
			is = adminTimeout
		default:
			is = defaults.FieldByName(field).Interface().(time.Duration)
		}
		if says != is {
			t.Errorf("%q takes at most %v: it is %v", m[1], says, is)
		}
		sum += is
	}
	for _, field := range []string{"Deregister", "Propagation", "Wait", "Extra", "Stop", "Hooks", "–", ""} {
		if rows[field] != 1 {
			t.Errorf("Drain.%s has %d rows, want 1", field, rows[field])
		}
	}
	for i := range defaults.NumField() {
		if name := defaults.Type().Field(i).Name; !strings.Contains(table, name) && name != "RefuseAtOnce" {
			t.Errorf("Drain.%s is not in the table", name)
		}
	}
	if quiet := fmt.Sprintf("none new for %d ms ", defaults.FieldByName("Quiet").Interface().(time.Duration).Milliseconds()); !strings.Contains(table, quiet) {
		t.Errorf("want %q", quiet)
	}
	if all := sum / 2; all > offlineTimeout { // the last line has been added to it
		t.Errorf("a drain takes up to %v, and the offline command waits for %v", all, offlineTimeout)
	}
}

// Other durations that the documentation names.
func TestDurationsInTheDocumentation(t *testing.T) {
	seconds := func(d time.Duration) string { return fmt.Sprintf("%v s", d.Seconds()) }
	for file, text := range map[string]string{
		"doc.go":     "pauses of " + seconds(retryBase) + " doubling to " + seconds(retryMax) + ",",
		"start.go":   "// or " + seconds(registerWait) + " after the first began;",
		"leave.go":   "well or not, or after " + seconds(registerWait) + ".",
		"offline.go": fmt.Sprintf("(default %v, which the defaults of a drain fit in)", offlineTimeout),
	} {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(source), text) {
			t.Errorf("%s does not say %q", file, text)
		}
	}
}
