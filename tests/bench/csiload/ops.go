package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"csiload/load"
)

// operation is something to measure. setup runs unmeasured before it; what
// setup made is removed, also unmeasured, after it.
type operation struct {
	name, help string
	setup      func(ctx context.Context, r *round) error
	turn       func(ctx context.Context, r *round, client, i int, rec *load.Recorder)
	count      func(r *round) int // instead of -n; then there is no warm-up
}

// round is one operation with one number of clients.
type round struct {
	*bench
	clients   int
	serial    int       // keeps names of different rounds apart
	volumes   []*volume // made by setup, one for each client
	snapshots []string  // made by setup, one for each client
	work      []*volume // for operations that consume existing volumes
}

var operations = []*operation{
	{name: "probe", help: "Probe", turn: simple("Probe", callProbe)},
	{name: "plugin-info", help: "GetPluginInfo", turn: simple("GetPluginInfo", callPluginInfo)},
	{name: "plugin-caps", help: "GetPluginCapabilities", turn: simple("GetPluginCapabilities", callPluginCaps)},
	{name: "controller-caps", help: "ControllerGetCapabilities", turn: simple("ControllerGetCapabilities", callControllerCaps)},
	{name: "node-caps", help: "NodeGetCapabilities", turn: simple("NodeGetCapabilities", callNodeCaps)},
	{name: "node-info", help: "NodeGetInfo", turn: simple("NodeGetInfo", callNodeInfo)},
	{name: "capacity", help: "GetCapacity for the given parameters and topology", turn: simple("GetCapacity", callCapacity)},
	{name: "validate", help: "ValidateVolumeCapabilities", setup: makeVolumes, turn: simple("ValidateVolumeCapabilities", callValidate)},
	{name: "get-volume", help: "ControllerGetVolume", setup: makeVolumes, turn: simple("ControllerGetVolume", callGetVolume)},
	{name: "volume-health", help: "ControllerGetVolumeHealth", setup: makeVolumes, turn: simple("ControllerGetVolumeHealth", callVolumeHealth)},
	{name: "create-delete", help: "CreateVolume, DeleteVolume in pairs", turn: turnCreateDelete},
	{name: "create", help: "CreateVolume; the volumes stay for later operations", turn: turnCreate},
	{name: "create-again", help: "CreateVolume with the name of an existing volume (a retry)", setup: makeVolumes, turn: turnCreateAgain},
	{name: "delete", help: "DeleteVolume of all volumes that 'create' made", setup: takeHeld, turn: turnDelete, count: func(r *round) int { return len(r.work) }},
	{name: "delete-absent", help: "DeleteVolume of a volume that is not there", turn: turnDeleteAbsent},
	{name: "list", help: "ListVolumes, all pages", turn: simple("ListVolumes.all", callList)},
	{name: "list-page", help: "ListVolumes, the first page only (give -page)", turn: simple("ListVolumes.page", callListPage)},
	{name: "list-health-page", help: "ControllerListVolumeHealth, the first page only", turn: simple("ControllerListVolumeHealth.page", callListHealthPage)},
	{name: "list-snapshots", help: "ListSnapshots, all pages; each client has one snapshot", setup: makeSnapshots, turn: simple("ListSnapshots.all", callListSnapshots)},
	{name: "get-snapshot", help: "GetSnapshot", setup: makeSnapshots, turn: simple("GetSnapshot", callGetSnapshot)},
	{name: "snapshot", help: "CreateSnapshot, DeleteSnapshot in pairs", setup: makeSourceVolumes, turn: turnSnapshot},
	{name: "group-snapshot", help: "CreateVolumeGroupSnapshot, GetVolumeGroupSnapshot, DeleteVolumeGroupSnapshot of one volume", setup: makeSourceVolumes, turn: turnGroupSnapshot},
	{name: "restore", help: "CreateVolume from a snapshot, DeleteVolume in pairs", setup: makeSnapshots, turn: turnRestore},
	{name: "clone", help: "CreateVolume from a volume, DeleteVolume in pairs", setup: makeSourceVolumes, turn: turnClone},
	{name: "publish", help: "(ControllerPublish) Stage Publish Unpublish Unstage (ControllerUnpublish) of one volume again and again", setup: makeVolumes, turn: turnPublish},
	{name: "stats", help: "NodeGetVolumeStats of a published volume", setup: makePublished, turn: turnStats},
	{name: "node-health", help: "NodeGetVolumeHealth of a published volume", setup: makePublished, turn: simple("NodeGetVolumeHealth", callNodeHealth)},
	{name: "storage-health", help: "NodeGetStorageHealth", turn: simple("NodeGetStorageHealth", callStorageHealth)},
	{name: "expand", help: "ControllerExpandVolume, NodeExpandVolume of a published volume, larger each time", setup: makePublished, turn: turnExpand},
	{name: "lifecycle", help: "a new volume each time: Create, publish steps, NodeGetVolumeStats, unpublish steps, Delete", turn: turnLifecycle},
	{name: "idle", help: "nothing, for -idle: what the driver costs at rest", turn: turnIdle, count: func(*round) int { return 1 }},
	{name: "start", help: "start and stop the COMMAND -n times; must be the first operation"},
}

func operationHelp() string {
	var b strings.Builder
	for _, op := range operations {
		fmt.Fprintf(&b, "  %-16s %s\n", op.name, op.help)
	}
	return b.String()
}

func chooseOperations(names []string) ([]*operation, error) {
	var chosen []*operation
	for i, name := range names {
		var found *operation
		for _, op := range operations {
			if op.name == name {
				found = op
			}
		}
		switch {
		case found == nil:
			return nil, fmt.Errorf("no operation %q; there are:\n%s", name, operationHelp())
		case name == "start" && i > 0:
			return nil, fmt.Errorf("operation start must be the first")
		}
		chosen = append(chosen, found)
	}
	return chosen, nil
}

// simple makes a turn of one call.
func simple(step string, call func(ctx context.Context, r *round, client int) error) func(context.Context, *round, int, int, *load.Recorder) {
	return func(ctx context.Context, r *round, client, i int, rec *load.Recorder) {
		_ = r.timed(ctx, rec, step, func(ctx context.Context) error { return call(ctx, r, client) })
	}
}

// timed is Recorder.Time with the deadline of one RPC. A nil recorder runs
// the call unmeasured.
func (b *bench) timed(ctx context.Context, rec *load.Recorder, step string, call func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, b.o.timeout)
	defer cancel()
	if rec == nil {
		return call(ctx)
	}
	return rec.Time(step, func() error { return call(ctx) })
}

func turnCreateDelete(ctx context.Context, r *round, client, i int, rec *load.Recorder) {
	if v := r.create(ctx, rec, client, r.name("v", i), nil); v != nil {
		_ = r.delete(ctx, rec, client, v)
	}
}

func turnCreate(ctx context.Context, r *round, client, i int, rec *load.Recorder) {
	if v := r.create(ctx, rec, client, r.name("k", i), nil); v != nil {
		r.mu.Lock()
		r.held = append(r.held, v)
		r.mu.Unlock()
	}
}

func turnCreateAgain(ctx context.Context, r *round, client, i int, rec *load.Recorder) {
	_, _ = r.createNamed(ctx, rec, "CreateVolume.again", client, r.name("s", client), nil)
}

func turnDelete(ctx context.Context, r *round, client, i int, rec *load.Recorder) {
	_ = r.delete(ctx, rec, client, r.work[i])
}

func turnDeleteAbsent(ctx context.Context, r *round, client, i int, rec *load.Recorder) {
	_ = r.timed(ctx, rec, "DeleteVolume.absent", func(ctx context.Context) error {
		_, err := r.conns[client].DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: r.name("absent", i)})
		return err
	})
}

func turnSnapshot(ctx context.Context, r *round, client, i int, rec *load.Recorder) {
	if id, err := r.snapshot(ctx, rec, client, r.name("p", i), r.volumes[client]); err == nil {
		_ = r.deleteSnapshot(ctx, rec, client, id)
	}
}

func turnRestore(ctx context.Context, r *round, client, i int, rec *load.Recorder) {
	turnCopy(ctx, r, client, i, rec, fromSnapshot(r.snapshots[client]))
}

func turnClone(ctx context.Context, r *round, client, i int, rec *load.Recorder) {
	turnCopy(ctx, r, client, i, rec, fromVolume(r.volumes[client]))
}

func turnCopy(ctx context.Context, r *round, client, i int, rec *load.Recorder, source *csi.VolumeContentSource) {
	if v := r.create(ctx, rec, client, r.name("r", i), source); v != nil {
		_ = r.delete(ctx, rec, client, v)
	}
}

func turnPublish(ctx context.Context, r *round, client, i int, rec *load.Recorder) {
	rec.Sum("cycle", func() error {
		if err := r.publish(ctx, rec, client, r.volumes[client]); err != nil {
			return err
		}
		return r.unpublish(ctx, rec, client, r.volumes[client])
	})
}

func turnStats(ctx context.Context, r *round, client, i int, rec *load.Recorder) {
	_ = r.stats(ctx, rec, client, r.volumes[client])
}

func turnExpand(ctx context.Context, r *round, client, i int, rec *load.Recorder) {
	_ = r.expand(ctx, rec, client, r.volumes[client])
}

func turnLifecycle(ctx context.Context, r *round, client, i int, rec *load.Recorder) {
	rec.Sum("lifecycle", func() error {
		v := r.create(ctx, rec, client, r.name("l", i), nil)
		if v == nil {
			return fmt.Errorf("the volume was not created")
		}
		err := r.publish(ctx, rec, client, v)
		if err == nil {
			err = r.stats(ctx, rec, client, v)
		}
		return firstError(err, r.unpublish(ctx, rec, client, v), r.delete(ctx, rec, client, v))
	})
}

func turnIdle(ctx context.Context, r *round, client, i int, rec *load.Recorder) {
	_ = rec.Time("idle", func() error {
		select {
		case <-time.After(r.o.idle):
		case <-ctx.Done():
		}
		return nil
	})
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
