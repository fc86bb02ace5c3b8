//go:build race

package limit_test

// raceDetector allocates, so that counts of allocations mean nothing.
const raceDetector = true
