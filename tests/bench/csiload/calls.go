package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/container-storage-interface/spec/lib/go/csi"
)

// The operations that are one call each.

func callProbe(ctx context.Context, r *round, client int) error {
	_, err := r.conns[client].Probe(ctx, &csi.ProbeRequest{})
	return err
}

func callPluginInfo(ctx context.Context, r *round, client int) error {
	_, err := r.conns[client].GetPluginInfo(ctx, &csi.GetPluginInfoRequest{})
	return err
}

func callPluginCaps(ctx context.Context, r *round, client int) error {
	_, err := r.conns[client].GetPluginCapabilities(ctx, &csi.GetPluginCapabilitiesRequest{})
	return err
}

func callControllerCaps(ctx context.Context, r *round, client int) error {
	_, err := r.conns[client].ControllerGetCapabilities(ctx, &csi.ControllerGetCapabilitiesRequest{})
	return err
}

func callNodeCaps(ctx context.Context, r *round, client int) error {
	_, err := r.conns[client].NodeGetCapabilities(ctx, &csi.NodeGetCapabilitiesRequest{})
	return err
}

func callNodeInfo(ctx context.Context, r *round, client int) error {
	_, err := r.conns[client].NodeGetInfo(ctx, &csi.NodeGetInfoRequest{})
	return err
}

func callCapacity(ctx context.Context, r *round, client int) error {
	request := &csi.GetCapacityRequest{Parameters: r.o.params, VolumeCapabilities: []*csi.VolumeCapability{r.capability()}}
	if r.topology != nil {
		request.AccessibleTopology = r.topology.Preferred[0]
	}
	_, err := r.conns[client].GetCapacity(ctx, request)
	return err
}

func callValidate(ctx context.Context, r *round, client int) error {
	_, err := r.conns[client].ValidateVolumeCapabilities(ctx, &csi.ValidateVolumeCapabilitiesRequest{
		VolumeId: r.volumes[client].id, VolumeContext: r.volumes[client].context,
		VolumeCapabilities: []*csi.VolumeCapability{r.capability()}, Parameters: r.o.params,
	})
	return err
}

func callGetVolume(ctx context.Context, r *round, client int) error {
	_, err := r.conns[client].ControllerGetVolume(ctx, &csi.ControllerGetVolumeRequest{VolumeId: r.volumes[client].id})
	return err
}

func callVolumeHealth(ctx context.Context, r *round, client int) error {
	_, err := r.conns[client].ControllerGetVolumeHealth(ctx, &csi.ControllerGetVolumeHealthRequest{VolumeId: r.volumes[client].id})
	return err
}

func callList(ctx context.Context, r *round, client int) error {
	seen, least := 0, r.o.existing+len(r.held)
	for token := ""; ; {
		page, err := r.conns[client].ListVolumes(ctx, &csi.ListVolumesRequest{MaxEntries: int32(r.o.page), StartingToken: token})
		if err != nil {
			return err
		}
		seen += len(page.GetEntries())
		if token = page.GetNextToken(); token == "" {
			break
		}
	}
	if seen < least {
		return fmt.Errorf("%d volumes listed, at least %d exist", seen, least)
	}
	return nil
}

func callListPage(ctx context.Context, r *round, client int) error {
	page, err := r.conns[client].ListVolumes(ctx, &csi.ListVolumesRequest{MaxEntries: int32(r.o.page)})
	if least := min(r.o.page, r.o.existing+len(r.held)); err == nil && len(page.GetEntries()) < least {
		return fmt.Errorf("%d volumes on a page that should have %d", len(page.GetEntries()), least)
	}
	return err
}

func callListHealthPage(ctx context.Context, r *round, client int) error {
	_, err := r.conns[client].ControllerListVolumeHealth(ctx, &csi.ControllerListVolumeHealthRequest{MaxEntries: int32(r.o.page)})
	return err
}

func callListSnapshots(ctx context.Context, r *round, client int) error {
	seen := 0
	for token := ""; ; {
		page, err := r.conns[client].ListSnapshots(ctx, &csi.ListSnapshotsRequest{MaxEntries: int32(r.o.page), StartingToken: token})
		if err != nil {
			return err
		}
		seen += len(page.GetEntries())
		if token = page.GetNextToken(); token == "" {
			break
		}
	}
	if seen < len(r.snapshots) {
		return fmt.Errorf("%d snapshots listed, at least %d exist", seen, len(r.snapshots))
	}
	return nil
}

func callGetSnapshot(ctx context.Context, r *round, client int) error {
	_, err := r.conns[client].GetSnapshot(ctx, &csi.GetSnapshotRequest{SnapshotId: r.snapshots[client]})
	return err
}

func callNodeHealth(ctx context.Context, r *round, client int) error {
	v := r.volumes[client]
	a, err := r.conns[client].NodeGetVolumeHealth(ctx, &csi.NodeGetVolumeHealthRequest{
		VolumeId: v.id, VolumePublishPath: v.target, StagingTargetPath: v.stagingPath(r.caps),
	})
	if err == nil && a.GetVolumeHealth() == nil {
		return errors.New("NodeGetVolumeHealth answered without a health")
	}
	return err
}

func callStorageHealth(ctx context.Context, r *round, client int) error {
	_, err := r.conns[client].NodeGetStorageHealth(ctx, &csi.NodeGetStorageHealthRequest{})
	return err
}
