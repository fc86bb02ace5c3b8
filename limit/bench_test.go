package limit_test

import (
	"context"
	"maps"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/surecall/surecall/limit"
)

// paths are what a call does at each protection while there is room.
func paths() map[string]func(now time.Time) {
	fixed := limit.NewLimiter(limit.Concurrency{Limit: 1_000_000}, nil, func(int, int) {})
	own := limit.NewLimiter(limit.Concurrency{}, func() int { return 1024 }, nil)
	found := limit.NewLimiter(adaptive, nil, nil)
	full := limit.NewLimiter(limit.Concurrency{Limit: 1}, nil, nil)
	full.TryAcquire()
	bucket := limit.NewRateLimiter(limit.Rate{PerSecond: 1e9}, time.Now())
	empty := limit.NewRateLimiter(limit.Rate{PerSecond: 0.001}, time.Now())
	throttle := limit.NewThrottler(limit.Throttle{}, time.Now())
	ctx := context.Background()
	return map[string]func(now time.Time){
		"limiter": func(time.Time) {
			if fixed.TryAcquire() {
				fixed.Release()
			}
		},
		"limiter of its owner": func(time.Time) {
			if own.TryAcquire() {
				own.Release()
			}
		},
		"adaptive limiter": func(now time.Time) {
			if found.TryAcquire() {
				found.Sample(limit.Sample{Elapsed: time.Millisecond, Outcome: limit.Success}, now)
				found.Release()
			}
		},
		"full limiter": func(now time.Time) {
			if !full.TryAcquire() {
				_ = full.Acquire(ctx, limit.Ask{}, now)
			}
		},
		"rate": func(now time.Time) { _ = bucket.Take(ctx, limit.Ask{}, now) },
		"rate used up": func(now time.Time) {
			_ = empty.Take(ctx, limit.Ask{Priority: limit.Critical}, now)
		},
		"throttle": func(now time.Time) {
			if throttle.Allow(limit.Normal, now, 0.5) {
				throttle.Done(true, now)
			}
		},
	}
}

func BenchmarkPath(b *testing.B) {
	all := paths()
	for _, name := range slices.Sorted(maps.Keys(all)) {
		path := all[name]
		b.Run(name+"/serial", func(b *testing.B) {
			b.ReportAllocs()
			now := time.Now()
			for b.Loop() {
				path(now)
			}
		})
		b.Run(name+"/64 callers", func(b *testing.B) {
			b.ReportAllocs()
			b.SetParallelism(32)
			now := time.Now()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					path(now)
				}
			})
		})
	}
}

func TestPathsDoNotAllocate(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector allocates")
	}
	for name, path := range paths() {
		var at atomic.Int64
		begin := time.Now()
		got := testing.AllocsPerRun(1000, func() { path(begin.Add(time.Duration(at.Add(int64(time.Millisecond))))) })
		want := 0.0
		if name == "rate used up" {
			want = 1 // its error says when to come back
		}
		if got != want {
			t.Errorf("%s: %v allocations, want %v", name, got, want)
		}
	}
}
