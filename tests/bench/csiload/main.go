// Csiload measures a CSI driver through its unix socket: latency percentiles
// of each RPC under a closed loop of clients, and what the driver's process
// costs meanwhile. One JSON object per line goes to standard output, one for
// each kind of RPC of each operation and number of clients. See README.md.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"csiload/load"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	o := parseFlags()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "csiload:", err)
		os.Exit(1)
	}
}

type options struct {
	endpoint       string
	label, section string
	round          int
	ops            []string
	clients        []int
	count, warmup  int
	duration       time.Duration
	timeout, idle  time.Duration
	page, existing int
	strict, keep   bool
	table          bool

	capacity, expandStep, data int64
	access, fs                 string
	params                     map[string]string
	prefix, workdir            string

	counted   string
	serve     string
	command   []string
	serverLog string
}

func parseFlags() *options {
	o := &options{params: map[string]string{}}
	flag.StringVar(&o.endpoint, "endpoint", "", "CSI socket: unix:///path or a plain path")
	flag.StringVar(&o.label, "label", "", "name of the driver, copied to each result line")
	flag.StringVar(&o.section, "section", "", "name of the experiment, copied to each result line")
	flag.IntVar(&o.round, "round", 0, "number of the round, copied to each result line")
	ops := flag.String("ops", "probe", "operations in order, comma-separated:\n"+operationHelp())
	clients := flag.String("c", "1", "numbers of concurrent clients, comma-separated")
	flag.IntVar(&o.count, "n", 1000, "iterations per operation, over all clients")
	flag.IntVar(&o.warmup, "warmup", 0, "unrecorded iterations before each operation")
	flag.DurationVar(&o.duration, "t", 0, "stop an operation after this time (0: only -n counts)")
	flag.DurationVar(&o.timeout, "timeout", 2*time.Minute, "deadline of one RPC")
	flag.DurationVar(&o.idle, "idle", 5*time.Second, "how long operation 'idle' waits")
	flag.IntVar(&o.existing, "existing", 0, "volumes that exist already: lists must show at least these and those of 'create'")
	flag.IntVar(&o.page, "page", 0, "max_entries of the list operations (0: whatever the driver sends)")
	flag.BoolVar(&o.strict, "strict", false, "exit with status 1 if any call failed")
	flag.BoolVar(&o.keep, "keep", false, "leave the volumes of operation 'create' that were not deleted")
	flag.BoolVar(&o.table, "table", false, "also print a readable line for each result to standard error")
	bytesVar(&o.capacity, "capacity", "1Gi", "required_bytes of new volumes")
	bytesVar(&o.expandStep, "expand-step", "16Mi", "how much each turn of operation 'expand' adds")
	bytesVar(&o.data, "data", "0", "random bytes written into a source volume before it is snapshotted or cloned")
	flag.StringVar(&o.access, "access", "mount", "mount or block")
	flag.StringVar(&o.fs, "fs", "", "file system type; empty lets the driver choose")
	flag.Func("param", "volume parameter key=value; repeatable", func(s string) error {
		key, value, ok := strings.Cut(s, "=")
		if !ok {
			return fmt.Errorf("%q is not key=value", s)
		}
		o.params[key] = value
		return nil
	})
	flag.StringVar(&o.prefix, "prefix", fmt.Sprintf("csiload-%d", os.Getpid()), "start of the names of volumes and snapshots")
	flag.StringVar(&o.workdir, "workdir", "", "directory for staging and target paths (default: a new one in $TMPDIR)")
	flag.StringVar(&o.counted, "count-lines", "", "file that gets a line for each command the driver starts: they are counted for each call; with one client only")
	flag.StringVar(&o.serverLog, "server-log", os.DevNull, "file for the output of a driver started by csiload")
	flag.StringVar(&o.serve, "serve", "", "do not measure: serve a CSI driver that does nothing on this socket, to know the floor of Go gRPC here")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: csiload -endpoint SOCKET [options] [-- COMMAND of the driver to start and stop]")
		flag.PrintDefaults()
	}
	flag.Parse()
	o.command = flag.Args()
	o.ops = strings.Split(*ops, ",")
	for _, c := range strings.Split(*clients, ",") {
		n, err := strconv.Atoi(c)
		if err != nil || n < 1 {
			usage("-c %q is not a list of positive numbers", *clients)
		}
		o.clients = append(o.clients, n)
	}
	if o.serve == "" && o.endpoint == "" {
		usage("-endpoint is missing")
	}
	return o
}

func run(ctx context.Context, o *options) error {
	if o.serve != "" {
		return serveNull(ctx, socketPath(o.serve))
	}
	chosen, err := chooseOperations(o.ops)
	if err != nil {
		return err
	}
	if chosen[0].name == "start" {
		if len(o.command) == 0 {
			return fmt.Errorf("operation start needs the COMMAND of a driver")
		}
		if err := measureStarts(ctx, o); err != nil {
			return err
		}
		chosen = chosen[1:]
	}
	failed := 0
	if len(chosen) > 0 {
		if failed, err = measure(ctx, o, chosen); err != nil {
			return err
		}
	}
	if o.strict && failed > 0 {
		return fmt.Errorf("%d calls failed", failed)
	}
	return ctx.Err()
}

// measure runs all operations in order for each number of clients, and returns
// how many calls failed.
func measure(ctx context.Context, o *options, chosen []*operation) (int, error) {
	if len(o.command) > 0 {
		server, err := startServer(ctx, o)
		if err != nil {
			return 0, err
		}
		defer server.stop()
	}
	b, err := newBench(ctx, o)
	if err != nil {
		return 0, err
	}
	defer b.close()
	failed := 0
	for _, clients := range o.clients {
		for _, op := range chosen {
			n, err := b.measure(ctx, op, clients)
			if err != nil {
				return failed, fmt.Errorf("%s: %w", op.name, err)
			}
			failed += n
		}
	}
	return failed, nil
}

// line is one line of output.
type line struct {
	Label   string `json:"label,omitempty"`
	Section string `json:"section,omitempty"`
	Round   int    `json:"round,omitempty"`
	Run     string `json:"run"`
	load.Step
	Server *load.Cost `json:"server,omitempty"`
}

func emit(o *options, run string, step load.Step, server *load.Cost) {
	out, _ := json.Marshal(line{Label: o.label, Section: o.section, Round: o.round, Run: run, Step: step, Server: server})
	fmt.Println(string(out))
	if !o.table {
		return
	}
	rss := ""
	if server != nil {
		rss = fmt.Sprintf(" rss %d→%d max %d KiB cpu %d ms", server.Before.RSSKiB, server.After.RSSKiB, server.MaxRSSKiB, server.CPUMs)
	}
	fmt.Fprintf(os.Stderr, "%-10s %-14s %-26s c=%-3d n=%-6d err=%-4d p50 %9.3f ms  p99 %9.3f ms  max %9.3f ms  %9.1f/s%s\n",
		o.label, run, step.Name, step.Clients, step.N, step.Errors, step.P50Us/1e3, step.P99Us/1e3, step.MaxUs/1e3, step.OpsPerSec, rss)
	if step.FirstError != "" {
		fmt.Fprintf(os.Stderr, "%-10s   first error: %s\n", "", step.FirstError)
	}
}

func usage(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "csiload: "+format+"\n", args...)
	os.Exit(2)
}

func bytesVar(p *int64, name, value, text string) {
	set := func(s string) error {
		v, err := parseBytes(s)
		*p = v
		return err
	}
	_ = set(value)
	flag.Func(name, fmt.Sprintf("%s (default %s; K, Ki, M, Mi, G, Gi)", text, value), set)
}

func parseBytes(s string) (int64, error) {
	units := []struct {
		suffix string
		factor int64
	}{{"Ki", 1 << 10}, {"Mi", 1 << 20}, {"Gi", 1 << 30}, {"K", 1e3}, {"M", 1e6}, {"G", 1e9}, {"", 1}}
	for _, u := range units {
		if digits, ok := strings.CutSuffix(s, u.suffix); ok {
			n, err := strconv.ParseInt(digits, 10, 64)
			return n * u.factor, err
		}
	}
	return 0, fmt.Errorf("%q is not a size", s)
}

func socketPath(endpoint string) string {
	return strings.TrimPrefix(strings.TrimPrefix(endpoint, "unix://"), "unix:")
}
