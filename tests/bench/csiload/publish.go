package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"csiload/load"
)

// stagingPath is what the node calls carry: nothing if the driver has no
// STAGE_UNSTAGE_VOLUME.
func (v *volume) stagingPath(caps capabilities) string {
	if caps.stage {
		return v.staging
	}
	return ""
}

// publish makes the volume usable at its target, with the calls that the
// attacher and kubelet would make.
func (b *bench) publish(ctx context.Context, rec *load.Recorder, client int, v *volume) error {
	v.inUse = true
	if b.caps.publish {
		if err := b.attach(ctx, rec, client, v); err != nil {
			return err
		}
	}
	// The CO makes the staging directory and the target's parent, the plugin the target.
	if err := firstError(os.MkdirAll(v.staging, 0o755), os.MkdirAll(filepath.Dir(v.target), 0o755)); err != nil {
		return err
	}
	if b.caps.stage {
		if err := b.stage(ctx, rec, client, v); err != nil {
			return err
		}
	}
	return b.timed(ctx, rec, "NodePublishVolume", func(ctx context.Context) error {
		_, err := b.conns[client].NodePublishVolume(ctx, &csi.NodePublishVolumeRequest{
			VolumeId: v.id, StagingTargetPath: v.stagingPath(b.caps), TargetPath: v.target, VolumeCapability: b.capability(),
			PublishContext: v.publishContext, VolumeContext: v.context,
		})
		return err
	})
}

func (b *bench) attach(ctx context.Context, rec *load.Recorder, client int, v *volume) error {
	return b.timed(ctx, rec, "ControllerPublishVolume", func(ctx context.Context) error {
		r, err := b.conns[client].ControllerPublishVolume(ctx, &csi.ControllerPublishVolumeRequest{
			VolumeId: v.id, NodeId: b.nodeID, VolumeCapability: b.capability(), VolumeContext: v.context,
		})
		v.publishContext = r.GetPublishContext()
		return err
	})
}

func (b *bench) stage(ctx context.Context, rec *load.Recorder, client int, v *volume) error {
	return b.timed(ctx, rec, "NodeStageVolume", func(ctx context.Context) error {
		_, err := b.conns[client].NodeStageVolume(ctx, &csi.NodeStageVolumeRequest{
			VolumeId: v.id, StagingTargetPath: v.staging, VolumeCapability: b.capability(),
			PublishContext: v.publishContext, VolumeContext: v.context,
		})
		return err
	})
}

// unpublish undoes publish, as far as that went. It tries every step and
// returns the first error.
func (b *bench) unpublish(ctx context.Context, rec *load.Recorder, client int, v *volume) error {
	c := b.conns[client]
	v.inUse = false
	err := b.timed(ctx, rec, "NodeUnpublishVolume", func(ctx context.Context) error {
		_, err := c.NodeUnpublishVolume(ctx, &csi.NodeUnpublishVolumeRequest{VolumeId: v.id, TargetPath: v.target})
		return err
	})
	if b.caps.stage {
		err = firstError(err, b.timed(ctx, rec, "NodeUnstageVolume", func(ctx context.Context) error {
			_, err := c.NodeUnstageVolume(ctx, &csi.NodeUnstageVolumeRequest{VolumeId: v.id, StagingTargetPath: v.staging})
			return err
		}))
	}
	_ = os.Remove(v.target)
	_ = os.Remove(v.staging)
	if b.caps.publish {
		err = firstError(err, b.timed(ctx, rec, "ControllerUnpublishVolume", func(ctx context.Context) error {
			_, err := c.ControllerUnpublishVolume(ctx, &csi.ControllerUnpublishVolumeRequest{VolumeId: v.id, NodeId: b.nodeID})
			return err
		}))
	}
	return err
}

func (b *bench) stats(ctx context.Context, rec *load.Recorder, client int, v *volume) error {
	return b.timed(ctx, rec, "NodeGetVolumeStats", func(ctx context.Context) error {
		r, err := b.conns[client].NodeGetVolumeStats(ctx, &csi.NodeGetVolumeStatsRequest{
			VolumeId: v.id, VolumePath: v.target, StagingTargetPath: v.stagingPath(b.caps)})
		if err == nil && len(r.GetUsage()) == 0 {
			return errors.New("NodeGetVolumeStats answered without usage")
		}
		return err
	})
}

// expand grows a published volume by -expand-step.
func (b *bench) expand(ctx context.Context, rec *load.Recorder, client int, v *volume) error {
	v.bytes += b.o.expandStep
	size := &csi.CapacityRange{RequiredBytes: v.bytes}
	err := b.timed(ctx, rec, "ControllerExpandVolume", func(ctx context.Context) error {
		got, err := b.conns[client].ControllerExpandVolume(ctx, &csi.ControllerExpandVolumeRequest{
			VolumeId: v.id, CapacityRange: size, VolumeCapability: b.capability(),
		})
		if err == nil && got.GetCapacityBytes() < v.bytes {
			return fmt.Errorf("expanded to %d bytes, %d were asked for", got.GetCapacityBytes(), v.bytes)
		}
		return err
	})
	if err != nil {
		return err
	}
	return b.timed(ctx, rec, "NodeExpandVolume", func(ctx context.Context) error {
		_, err := b.conns[client].NodeExpandVolume(ctx, &csi.NodeExpandVolumeRequest{
			VolumeId: v.id, VolumePath: v.target, StagingTargetPath: v.stagingPath(b.caps), CapacityRange: size, VolumeCapability: b.capability(),
		})
		return err
	})
}
