package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"csiload/load"
)

func (r *round) name(kind string, i int) string {
	return fmt.Sprintf("%s-%s%d-%d", r.o.prefix, kind, r.serial, i)
}

func (b *bench) capability() *csi.VolumeCapability {
	cap := &csi.VolumeCapability{AccessMode: &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER}}
	if b.o.access == "block" {
		cap.AccessType = &csi.VolumeCapability_Block{Block: &csi.VolumeCapability_BlockVolume{}}
	} else {
		cap.AccessType = &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{FsType: b.o.fs}}
	}
	return cap
}

func fromSnapshot(id string) *csi.VolumeContentSource {
	return &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Snapshot{
		Snapshot: &csi.VolumeContentSource_SnapshotSource{SnapshotId: id}}}
}

func fromVolume(v *volume) *csi.VolumeContentSource {
	return &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Volume{
		Volume: &csi.VolumeContentSource_VolumeSource{VolumeId: v.id}}}
}

// create returns nil if the call failed; the recorder has the error.
func (b *bench) create(ctx context.Context, rec *load.Recorder, client int, name string, from *csi.VolumeContentSource) *volume {
	step := "CreateVolume"
	switch {
	case from.GetSnapshot() != nil:
		step = "CreateVolume.restore"
	case from.GetVolume() != nil:
		step = "CreateVolume.clone"
	}
	v, _ := b.createNamed(ctx, rec, step, client, name, from)
	return v
}

func (b *bench) createNamed(ctx context.Context, rec *load.Recorder, step string, client int, name string, from *csi.VolumeContentSource) (*volume, error) {
	request := &csi.CreateVolumeRequest{
		Name: name, Parameters: b.o.params,
		CapacityRange:             &csi.CapacityRange{RequiredBytes: b.o.capacity},
		VolumeCapabilities:        []*csi.VolumeCapability{b.capability()},
		VolumeContentSource:       from,
		AccessibilityRequirements: b.topology,
	}
	var made *csi.Volume
	err := b.timed(ctx, rec, step, func(ctx context.Context) error {
		r, err := b.conns[client].CreateVolume(ctx, request)
		if err != nil {
			return err
		}
		made = r.GetVolume()
		return checkCreated(made, request)
	})
	if err != nil {
		return nil, err
	}
	safe := fmt.Sprintf("%s-%d", name, client)
	return &volume{
		id: made.GetVolumeId(), bytes: max(made.GetCapacityBytes(), b.o.capacity), context: made.GetVolumeContext(),
		staging: filepath.Join(b.workdir, "staging", safe), target: filepath.Join(b.workdir, "target", safe),
	}, nil
}

// checkCreated catches answers that no sidecar could use, so that a driver
// cannot look fast by doing nothing.
func checkCreated(v *csi.Volume, request *csi.CreateVolumeRequest) error {
	switch {
	case v.GetVolumeId() == "":
		return errors.New("CreateVolume answered without a volume id")
	case v.GetCapacityBytes() != 0 && v.GetCapacityBytes() < request.GetCapacityRange().GetRequiredBytes():
		return fmt.Errorf("CreateVolume made %d bytes, %d were asked for", v.GetCapacityBytes(), request.GetCapacityRange().GetRequiredBytes())
	case request.GetVolumeContentSource() != nil && v.GetContentSource() == nil:
		return errors.New("CreateVolume did not repeat the content source")
	}
	return nil
}

func (b *bench) delete(ctx context.Context, rec *load.Recorder, client int, v *volume) error {
	return b.timed(ctx, rec, "DeleteVolume", func(ctx context.Context) error {
		_, err := b.conns[client].DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: v.id})
		return err
	})
}

// snapshot asks again for a snapshot that is not ready, as the snapshotter
// sidecar does; the time until ready is what counts.
func (b *bench) snapshot(ctx context.Context, rec *load.Recorder, client int, name string, source *volume) (string, error) {
	id := ""
	err := b.timed(ctx, rec, "CreateSnapshot", func(ctx context.Context) error {
		for {
			r, err := b.conns[client].CreateSnapshot(ctx, &csi.CreateSnapshotRequest{SourceVolumeId: source.id, Name: name})
			if err != nil {
				return err
			}
			if id = r.GetSnapshot().GetSnapshotId(); id == "" {
				return errors.New("CreateSnapshot answered without a snapshot id")
			}
			if r.GetSnapshot().GetReadyToUse() {
				return nil
			}
			time.Sleep(5 * time.Millisecond)
		}
	})
	return id, err
}

func (b *bench) deleteSnapshot(ctx context.Context, rec *load.Recorder, client int, id string) error {
	return b.timed(ctx, rec, "DeleteSnapshot", func(ctx context.Context) error {
		_, err := b.conns[client].DeleteSnapshot(ctx, &csi.DeleteSnapshotRequest{SnapshotId: id})
		return err
	})
}

// turnGroupSnapshot makes, asks for and deletes a group of one snapshot.
func turnGroupSnapshot(ctx context.Context, r *round, client, i int, rec *load.Recorder) {
	var group *csi.VolumeGroupSnapshot
	err := r.timed(ctx, rec, "CreateVolumeGroupSnapshot", func(ctx context.Context) error {
		a, err := r.conns[client].CreateVolumeGroupSnapshot(ctx, &csi.CreateVolumeGroupSnapshotRequest{
			Name: r.name("g", i), SourceVolumeIds: []string{r.volumes[client].id}})
		group = a.GetGroupSnapshot()
		if err == nil && len(group.GetSnapshots()) != 1 {
			return fmt.Errorf("%d snapshots in a group of one", len(group.GetSnapshots()))
		}
		return err
	})
	if err != nil {
		return
	}
	members := []string{group.GetSnapshots()[0].GetSnapshotId()}
	_ = r.timed(ctx, rec, "GetVolumeGroupSnapshot", func(ctx context.Context) error {
		_, err := r.conns[client].GetVolumeGroupSnapshot(ctx, &csi.GetVolumeGroupSnapshotRequest{
			GroupSnapshotId: group.GetGroupSnapshotId(), SnapshotIds: members})
		return err
	})
	_ = r.timed(ctx, rec, "DeleteVolumeGroupSnapshot", func(ctx context.Context) error {
		_, err := r.conns[client].DeleteVolumeGroupSnapshot(ctx, &csi.DeleteVolumeGroupSnapshotRequest{
			GroupSnapshotId: group.GetGroupSnapshotId(), SnapshotIds: members})
		return err
	})
}
