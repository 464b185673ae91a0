package load

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestPercentileIsNearestRank(t *testing.T) {
	var values []time.Duration
	for i := 1; i <= 200; i++ {
		values = append(values, time.Duration(i))
	}
	for percent, want := range map[int]time.Duration{1: 2, 50: 100, 90: 180, 99: 198, 100: 200} {
		if got := Percentile(values, percent); got != want {
			t.Errorf("percentile %d of 1..200 is %d, want %d", percent, got, want)
		}
	}
	if got := Percentile(values[:3], 50); got != 2 {
		t.Errorf("the median of 1, 2, 3 is %d", got)
	}
	if got := Percentile(values[:1], 50); got != 1 {
		t.Errorf("percentile of one value is %d", got)
	}
}

func TestRunCountsIterationsAndIgnoresWarmup(t *testing.T) {
	var seen sync.Map
	var turns, begun atomic.Int64
	steps := Run(context.Background(), Spec{Clients: 7, Count: 100, Warmup: 13},
		func() { begun.Store(turns.Load()) },
		func(ctx context.Context, client, i int, r *Recorder) {
			turns.Add(1)
			if _, twice := seen.LoadOrStore(i, true); twice {
				t.Errorf("iteration %d ran twice", i)
			}
			_ = r.Time("x", func() error { return nil })
		})
	if len(steps) != 1 || steps[0].N != 100 || steps[0].Errors != 0 {
		t.Fatalf("got %+v", steps)
	}
	if begun.Load() != 13 || turns.Load() != 113 {
		t.Errorf("%d turns before the measurement and %d in all", begun.Load(), turns.Load())
	}
}

func TestWhatTheServerStartsIsCountedForEachCall(t *testing.T) {
	file := filepath.Join(t.TempDir(), "commands")
	start := func(commands string) error {
		f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		_, err = f.WriteString(commands)
		return errors.Join(err, f.Close())
	}
	spec := Spec{Clients: 1, Count: 5, Warmup: 3, Counter: LineCounter(file)}
	steps := Run(context.Background(), spec, nil, func(ctx context.Context, client, i int, r *Recorder) {
		_ = r.Time("three", func() error { return start("a\nb\nc\n") })
		_ = r.Time("none", func() error { return nil })
		_ = r.Time("one", func() error { return start("d\n") })
	})
	for i, want := range []float64{3, 0, 1} {
		if got := steps[i].Counted; got == nil || *got != want {
			t.Errorf("%s: counted %v, want %v", steps[i].Name, got, want)
		}
	}
	spec.Counter = nil
	steps = Run(context.Background(), spec, nil, func(ctx context.Context, client, i int, r *Recorder) {
		_ = r.Time("uncounted", func() error { return nil })
	})
	if steps[0].Counted != nil {
		t.Errorf("counted %v without a counter", *steps[0].Counted)
	}
}

func TestRunIsAClosedLoop(t *testing.T) {
	var inFlight, most atomic.Int64
	steps := Run(context.Background(), Spec{Clients: 4, Count: 40}, nil,
		func(ctx context.Context, client, i int, r *Recorder) {
			_ = r.Time("sleep", func() error {
				now := inFlight.Add(1)
				for old := most.Load(); now > old && !most.CompareAndSwap(old, now); old = most.Load() {
				}
				time.Sleep(5 * time.Millisecond)
				inFlight.Add(-1)
				return nil
			})
		})
	if most.Load() != 4 {
		t.Errorf("%d calls were in flight at most, want 4", most.Load())
	}
	if s := steps[0]; s.MinUs < 5000 || s.P50Us < s.MinUs || s.P99Us < s.P50Us || s.MaxUs < s.P99Us {
		t.Errorf("latencies are not those of the call: %+v", s)
	}
	if rate := steps[0].OpsPerSec; rate > 800 {
		t.Errorf("4 clients of 5 ms calls cannot make %.0f calls a second", rate)
	}
}

func TestErrorsAreCountedButNotTimed(t *testing.T) {
	steps := Run(context.Background(), Spec{Clients: 1, Count: 10}, nil,
		func(ctx context.Context, client, i int, r *Recorder) {
			_ = r.Time("half", func() error {
				if i%2 == 0 {
					time.Sleep(20 * time.Millisecond)
					return errors.New("no")
				}
				return nil
			})
		})
	s := steps[0]
	if s.N != 10 || s.Errors != 5 || s.Codes["Unknown"] != 5 || s.FirstError != "no" {
		t.Errorf("got %+v", s)
	}
	if s.MaxUs >= 20000 {
		t.Errorf("a failed call is in the latencies: %+v", s)
	}
}

func TestSumIsWithoutWhatTheClientDoesBetween(t *testing.T) {
	steps := Run(context.Background(), Spec{Clients: 1, Count: 3}, nil,
		func(ctx context.Context, client, i int, r *Recorder) {
			r.Sum("both", func() error {
				_ = r.Time("a", func() error { time.Sleep(2 * time.Millisecond); return nil })
				time.Sleep(30 * time.Millisecond)
				return r.Time("b", func() error { time.Sleep(2 * time.Millisecond); return nil })
			})
		})
	both := steps[len(steps)-1]
	if both.Name != "both" || both.MinUs < 4000 || both.MinUs > 30000 {
		t.Errorf("got %+v", both)
	}
}

func TestServerSeesMemoryOfAProcess(t *testing.T) {
	s := Server{Pid: os.Getpid()}
	before := s.Begin()
	block := make([]byte, 64<<20)
	for i := 0; i < len(block); i += 4096 {
		block[i] = 1
	}
	cost := s.End(before)
	if grown := cost.MaxRSSKiB - before.RSSKiB; grown < 60<<10 {
		t.Errorf("64 MiB more were seen as %d KiB", grown)
	}
	if cost.After.Threads < 1 || cost.After.PSSKiB == 0 {
		t.Errorf("got %+v", cost.After)
	}
	_ = block[0]
}
