package load

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Usage is what the server's process holds at one moment.
type Usage struct {
	RSSKiB          int64 `json:"rss_kib"`
	PSSKiB          int64 `json:"pss_kib"`
	PrivateDirtyKiB int64 `json:"private_dirty_kib"`
	AnonymousKiB    int64 `json:"anonymous_kib"`
	Threads         int64 `json:"threads"`
	FDs             int64 `json:"fds"`
	cpuMs           int64 // own and reaped children
}

// Server watches the process of a server.
type Server struct {
	Pid int

	startCPU  int64
	startFork int64
	startTime time.Time
}

// Cost is the change over a measured run.
type Cost struct {
	Before     Usage `json:"before"`
	After      Usage `json:"after"`
	MaxRSSKiB  int64 `json:"max_rss_kib"` // peak inside the run
	CPUMs      int64 `json:"cpu_ms"`      // user+system, own and reaped children
	CPUPercent int64 `json:"cpu_percent"` // of one core
	Forks      int64 `json:"forks"`       // new processes and threads on the whole machine
}

// Begin resets the peak and starts watching.
func (s *Server) Begin() Usage {
	// "5" resets VmHWM, proc(5); it needs the owner or root.
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", s.Pid), []byte("5"), 0)
	before := s.Now()
	s.startCPU, s.startFork, s.startTime = before.cpuMs, forks(), time.Now()
	return before
}

// End returns the cost since Begin.
func (s *Server) End(before Usage) *Cost {
	after := s.Now()
	wall := time.Since(s.startTime).Milliseconds()
	cpu := after.cpuMs - s.startCPU
	return &Cost{
		Before: before, After: after, MaxRSSKiB: max(s.highWater(), after.RSSKiB),
		CPUMs: cpu, CPUPercent: cpu * 100 / max(wall, 1), Forks: forks() - s.startFork,
	}
}

// forks is how many processes and threads this machine has ever made.
func forks() int64 {
	data, _ := os.ReadFile("/proc/stat")
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) == 2 && f[0] == "processes" {
			n, _ := strconv.ParseInt(f[1], 10, 64)
			return n
		}
	}
	return 0
}

func (s *Server) highWater() int64 {
	return fields(fmt.Sprintf("/proc/%d/status", s.Pid))["VmHWM"]
}

// Now reads the current usage.
func (s *Server) Now() Usage {
	smaps := fields(fmt.Sprintf("/proc/%d/smaps_rollup", s.Pid))
	status := fields(fmt.Sprintf("/proc/%d/status", s.Pid))
	fds, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.Pid))
	return Usage{
		RSSKiB: status["VmRSS"], PSSKiB: smaps["Pss"], PrivateDirtyKiB: smaps["Private_Dirty"],
		AnonymousKiB: smaps["Anonymous"], Threads: status["Threads"], FDs: int64(len(fds)), cpuMs: cpuMs(s.Pid),
	}
}

// fields reads "Key:  123 kB" files of proc(5).
func fields(path string) map[string]int64 {
	out := map[string]int64{}
	data, _ := os.ReadFile(path)
	for line := range strings.Lines(string(data)) {
		key, rest, ok := strings.Cut(line, ":")
		if f := strings.Fields(rest); ok && len(f) > 0 {
			if v, err := strconv.ParseInt(f[0], 10, 64); err == nil {
				out[key] = v
			}
		}
	}
	return out
}

// statFields returns the fields of proc_pid_stat(5) from the third (state) on;
// the second, the name in parentheses, may hold spaces and parentheses itself.
func statFields(path string) []string {
	data, _ := os.ReadFile(path)
	if i := bytes.LastIndexByte(data, ')'); i >= 0 {
		return strings.Fields(string(data[i+1:]))
	}
	return nil
}

func cpuMs(pid int) int64 {
	f := statFields(fmt.Sprintf("/proc/%d/stat", pid))
	if len(f) < 15 {
		return 0
	}
	const userTime, reapedSystemTime, msPerTick = 11, 14, 10 // USER_HZ is 100
	var ticks int64
	for i := userTime; i <= reapedSystemTime; i++ {
		v, _ := strconv.ParseInt(f[i], 10, 64)
		ticks += v
	}
	return ticks * msPerTick
}

// LineCounter returns a function that counts the lines of a file, for Spec.Counter.
func LineCounter(path string) func() int64 {
	return func() int64 {
		data, _ := os.ReadFile(path)
		return int64(bytes.Count(data, []byte("\n")))
	}
}

// PeerPid asks the kernel which process listens on a unix socket.
func PeerPid(path string) (int, error) {
	conn, err := net.Dial("unix", path)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *syscall.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	}); err != nil {
		return 0, err
	}
	if credErr != nil {
		return 0, credErr
	}
	return int(cred.Pid), nil
}
