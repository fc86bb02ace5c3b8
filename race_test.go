//go:build race

package surecall_test

// raceDetector allocates, so that counts of allocations mean nothing.
const raceDetector = true
