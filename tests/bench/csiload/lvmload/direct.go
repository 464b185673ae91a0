package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// direct executes lvm, once for each operation.
type direct struct {
	vg, pool, config string
	size             int64
	inactive         bool
}

func (d *direct) create(ctx context.Context, name string) error {
	if d.pool != "" {
		return d.lvm(d.activation("lvcreate", "-qq", "-y", "-V", d.bytes(), "-n", name, "-T", d.vg+"/"+d.pool)...)
	}
	return d.lvm("lvcreate", "-qq", "-y", "-Wy", "-Zy", "-L", d.bytes(), "-n", name, d.vg)
}

func (d *direct) snapshot(ctx context.Context, source, name string) error {
	args := []string{"lvcreate", "-qq", "-y", "-s", "-n", name, d.vg + "/" + source}
	if d.pool == "" {
		return d.lvm(append(args, "-L", d.bytes())...)
	}
	return d.lvm(d.activation(args...)...)
}

func (d *direct) remove(ctx context.Context, name string) error {
	return d.lvm("lvremove", "-qq", "-f", d.vg+"/"+name)
}

func (d *direct) list(ctx context.Context) error {
	return d.lvm("lvs", "--reportformat", "json", "-o", "lv_name,lv_size,lv_attr,lv_tags,origin,pool_lv", d.vg)
}

func (d *direct) bytes() string { return strconv.FormatInt(d.size, 10) + "b" }

// activation: without a word, LVM activates a thin volume and not a thin snapshot.
func (d *direct) activation(args ...string) []string {
	if d.inactive {
		return append(args, "-an")
	}
	return append(args, "-kn", "-ay")
}

// lvm runs a command as posix_spawn(3) does, which is how os.StartProcess works
// on Linux (a child in our memory until it executes), with its output going to a
// file, so that nothing but the command takes time.
func (d *direct) lvm(args ...string) error {
	program, err := exec.LookPath("lvm")
	if err != nil {
		return err
	}
	output, err := os.CreateTemp("", "lvmload")
	if err != nil {
		return err
	}
	defer output.Close()
	_ = os.Remove(output.Name())
	argv := []string{"lvm", args[0]}
	if d.config != "" {
		argv = append(argv, "--config", d.config)
	}
	argv = append(argv, args[1:]...)
	child, err := os.StartProcess(program, argv, &os.ProcAttr{Files: []*os.File{nil, output, output}})
	if err != nil {
		return err
	}
	state, err := child.Wait()
	if err != nil || state.Success() {
		return err
	}
	_, _ = output.Seek(0, io.SeekStart)
	said, _ := io.ReadAll(output)
	return fmt.Errorf("%s: %v: %s", strings.Join(argv, " "), state, said)
}
