// Lvmload is csiload for logical volumes without CSI: it executes lvm(8), one
// process for each operation, or asks TopoLVM's lvmd through its unix socket.
// It has the closed loop, the names of calls and the output of csiload, so that
// the lines of both can be compared when they come from one machine and minute.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"csiload/load"
)

// backend is a way to work on logical volumes.
type backend interface {
	create(ctx context.Context, name string) error
	snapshot(ctx context.Context, source, name string) error
	remove(ctx context.Context, name string) error
	list(ctx context.Context) error
}

func main() {
	socket := flag.String("lvmd", "", "socket of lvmd; without it lvm is executed directly")
	class := flag.String("class", "thick", "device class of lvmd")
	var d direct
	flag.StringVar(&d.vg, "vg", "bench", "volume group, for direct execution")
	flag.StringVar(&d.pool, "pool", "", "thin pool, for direct execution; empty makes thick volumes")
	flag.StringVar(&d.config, "config", "", "for direct execution: --config of each command; LVM_SYSTEM_DIR comes from the environment")
	flag.BoolVar(&d.inactive, "inactive", false, "for direct execution: make volumes without activating them")
	size := flag.Int64("size", 64<<20, "bytes of each volume")
	op := flag.String("op", "create-delete", "create-delete, snapshot or list")
	clients := flag.Int("c", 1, "number of clients")
	count := flag.Int("n", 50, "iterations over all clients")
	warmup := flag.Int("warmup", 0, "unrecorded iterations before")
	counted := flag.String("count-lines", "", "as csiload's")
	label := flag.String("label", "", "name copied to the lines")
	section := flag.String("section", "", "name of the experiment, copied to the lines")
	number := flag.Int("round", 0, "number of the round, copied to the lines")
	flag.Parse()

	d.size = *size
	var b backend = &d
	server := &load.Server{}
	if *socket != "" {
		pid, err := load.PeerPid(*socket)
		exitOn(err)
		server.Pid = pid
		b, err = dial(*socket, *class, *size)
		exitOn(err)
	}
	ctx := context.Background()
	turn, done, err := prepare(ctx, b, *op, *clients)
	exitOn(err)
	spec := load.Spec{Clients: *clients, Count: *count, Warmup: *warmup}
	if *counted != "" {
		spec.Counter = load.LineCounter(*counted)
	}
	var before load.Usage
	steps := load.Run(ctx, spec, func() { before = server.Begin() }, turn)
	cost := server.End(before)
	exitOn(done())
	for _, s := range steps {
		out, _ := json.Marshal(struct {
			Label   string `json:"label"`
			Section string `json:"section"`
			Round   int    `json:"round"`
			Run     string `json:"run"`
			load.Step
			Server *load.Cost `json:"server,omitempty"`
		}{*label, *section, *number, *op, s, cost})
		fmt.Println(string(out))
	}
}

func exitOn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "lvmload:", err)
		os.Exit(1)
	}
}

// prepare returns the turn of an operation and what to do after all turns. For
// snapshots each client has a source volume of its own, as with csiload.
func prepare(ctx context.Context, b backend, op string, clients int) (load.Iteration, func() error, error) {
	nothing := func() error { return nil }
	prefix := fmt.Sprintf("raw%d-%d-", os.Getpid(), time.Now().UnixMilli()%1e6)
	numbered := func(kind string, i int) string { return prefix + kind + strconv.Itoa(i) }
	switch op {
	case "create-delete":
		return pair("CreateVolume", "DeleteVolume",
			func(ctx context.Context, client, i int) error { return b.create(ctx, numbered("v", i)) },
			func(ctx context.Context, client, i int) error { return b.remove(ctx, numbered("v", i)) }), nothing, nil
	case "snapshot":
		each := func(do func(ctx context.Context, name string) error) error {
			for client := range clients {
				if err := do(ctx, numbered("source", client)); err != nil {
					return err
				}
			}
			return nil
		}
		turn := pair("CreateSnapshot", "DeleteSnapshot",
			func(ctx context.Context, client, i int) error {
				return b.snapshot(ctx, numbered("source", client), numbered("s", i))
			},
			func(ctx context.Context, client, i int) error { return b.remove(ctx, numbered("s", i)) })
		return turn, func() error { return each(b.remove) }, each(b.create)
	case "list":
		return func(ctx context.Context, client, i int, r *load.Recorder) {
			_ = r.Time("ListVolumes.all", func() error { return b.list(ctx) })
		}, nothing, nil
	}
	return nil, nil, fmt.Errorf("no operation %q; there are: %s", op, strings.Join([]string{"create-delete", "snapshot", "list"}, ", "))
}

// pair makes and removes something each turn.
func pair(make, remove string, first, second func(ctx context.Context, client, i int) error) load.Iteration {
	return func(ctx context.Context, client, i int, r *load.Recorder) {
		if r.Time(make, func() error { return first(ctx, client, i) }) == nil {
			_ = r.Time(remove, func() error { return second(ctx, client, i) })
		}
	}
}
