//go:build !race

package surecall_test

const raceDetector = false
