package once

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// The numbers in the documentation are those of the code.
func TestNumbersInTheDocumentation(t *testing.T) {
	source, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	p, m := Policy{}.WithDefaults(), MemoryPolicy{}.WithDefaults()
	seconds := func(d time.Duration) string { return fmt.Sprintf("%v s", d.Seconds()) }
	for _, row := range [][2]string{
		{"Policy.Lease", seconds(p.Lease)},
		{"Policy.MaxReply", fmt.Sprintf("%d KiB", p.MaxReply>>10)},
		{"Policy.StoreTimeout", seconds(p.StoreTimeout)},
		{"Policy.ExecuteAnyway", fmt.Sprint(p.ExecuteAnyway)},
		{"MemoryPolicy.TTL", fmt.Sprintf("%v min", m.TTL.Minutes())},
		{"MemoryPolicy.Keep", seconds(m.Keep)},
		{"MemoryPolicy.MaxRecords", fmt.Sprintf("%d,000", m.MaxRecords/1000)},
		{"MemoryPolicy.MaxBytes", fmt.Sprintf("%d MiB", m.MaxBytes>>20)},
	} {
		if want := fmt.Sprintf("//\t%-27s%s", row[0], row[1]); !strings.Contains(string(source), want) {
			t.Errorf("want %q", want)
		}
	}
}
