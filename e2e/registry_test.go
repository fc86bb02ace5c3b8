package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"
)

// registered returns how many instances the agent at addr finds passing, or an error.
func registered(addr string) (int, error) {
	client := http.Client{Timeout: time.Second}
	resp, err := client.Get("http://" + addr + "/v1/health/service/" + service + "?passing=1")
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("%s answers %s", addr, resp.Status)
	}
	var entries []json.RawMessage
	err = json.NewDecoder(resp.Body).Decode(&entries)
	return len(entries), err
}

// awaitRegistered waits until the agent at addr finds n instances passing, and returns how
// long that took from begin.
func awaitRegistered(t *testing.T, addr string, n int, begin time.Time, timeout time.Duration) time.Duration {
	t.Helper()
	for {
		found, err := registered(addr)
		if err == nil && found == n {
			return time.Since(begin)
		}
		if time.Since(begin) > timeout {
			t.Fatalf("after %v the agent finds %d instances passing (%v): want %d", timeout, found, err, n)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
