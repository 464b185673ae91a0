package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"csiload/load"
)

// server is a driver process started by csiload.
type server struct {
	cmd        *exec.Cmd
	exited     chan error
	toSocket   time.Duration // from exec to an accepted connection
	toServing  time.Duration // from exec to the first good Probe
	toShutdown time.Duration // from SIGTERM to exit
}

func startServer(ctx context.Context, o *options) (*server, error) {
	out, err := os.OpenFile(o.serverLog, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	_ = os.Remove(socketPath(o.endpoint))
	s := &server{cmd: exec.Command(o.command[0], o.command[1:]...), exited: make(chan error, 1)}
	s.cmd.Stdout, s.cmd.Stderr = out, out
	begin := time.Now()
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { s.exited <- s.cmd.Wait() }()
	if err := s.waitUntilServing(ctx, o, begin); err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

func (s *server) waitUntilServing(ctx context.Context, o *options, begin time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	for {
		select {
		case err := <-s.exited:
			s.exited <- err
			return fmt.Errorf("the server ended before it served: %v (see -server-log)", err)
		case <-ctx.Done():
			return fmt.Errorf("the server did not serve within %v", o.timeout)
		case <-time.After(200 * time.Microsecond):
		}
		c, err := net.Dial("unix", socketPath(o.endpoint))
		if err != nil {
			continue
		}
		s.toSocket = time.Since(begin)
		c.Close()
		break
	}
	conn, err := dial(o.endpoint)
	if err != nil {
		return err
	}
	defer conn.Close()
	for ctx.Err() == nil {
		r, err := csi.NewIdentityClient(conn).Probe(ctx, &csi.ProbeRequest{})
		if err == nil && (r.GetReady() == nil || r.GetReady().GetValue()) {
			s.toServing = time.Since(begin)
			return nil
		}
		time.Sleep(time.Millisecond)
	}
	return fmt.Errorf("Probe was not ready within %v", o.timeout)
}

func (s *server) stop() {
	begin := time.Now()
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.exited:
	case <-time.After(10 * time.Second):
		_ = s.cmd.Process.Kill()
		<-s.exited
	}
	s.toShutdown = time.Since(begin)
}

// measureStarts starts and stops the server o.count times. The usage in the
// lines is that of the last server, o.idle after it began to serve.
func measureStarts(ctx context.Context, o *options) error {
	times := map[string][]time.Duration{}
	var cost *load.Cost
	for i := range o.count {
		s, err := startServer(ctx, o)
		if err != nil {
			return err
		}
		if i == o.count-1 {
			watch := load.Server{Pid: s.cmd.Process.Pid}
			before := watch.Begin()
			time.Sleep(o.idle)
			cost = watch.End(before)
		}
		s.stop()
		times["start.socket"] = append(times["start.socket"], s.toSocket)
		times["start.serving"] = append(times["start.serving"], s.toServing)
		times["stop"] = append(times["stop"], s.toShutdown)
	}
	for _, name := range []string{"start.socket", "start.serving", "stop"} {
		emit(o, "start", load.Summarize(name, times[name]), cost)
	}
	return nil
}
