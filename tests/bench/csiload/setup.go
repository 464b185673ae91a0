package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// What operations find when they begin, and its removal. Nothing here is measured.

// makeVolumes gives each client a volume of its own.
func makeVolumes(ctx context.Context, r *round) error {
	for client := range r.clients {
		v, err := r.createNamed(ctx, nil, "", client, r.name("s", client), nil)
		if err != nil {
			return fmt.Errorf("CreateVolume: %w", err)
		}
		r.volumes = append(r.volumes, v)
	}
	return nil
}

// makeSourceVolumes is makeVolumes with -data bytes in each.
func makeSourceVolumes(ctx context.Context, r *round) error {
	if err := makeVolumes(ctx, r); err != nil {
		return err
	}
	for client, v := range r.volumes {
		if err := r.fill(ctx, client, v); err != nil {
			return fmt.Errorf("writing into a source volume: %w", err)
		}
	}
	return nil
}

// fill writes random bytes into a volume, so that copying it costs something.
func (r *round) fill(ctx context.Context, client int, v *volume) error {
	if r.o.data == 0 {
		return nil
	}
	if err := r.publish(ctx, nil, client, v); err != nil {
		return err
	}
	path, flags := filepath.Join(v.target, "data"), os.O_CREATE|os.O_WRONLY
	if r.o.access == "block" {
		path, flags = v.target, os.O_WRONLY
	}
	return firstError(writeRandom(path, flags, r.o.data), r.unpublish(ctx, nil, client, v))
}

func writeRandom(path string, flags int, bytes int64) error {
	f, err := os.OpenFile(path, flags, 0o600)
	if err != nil {
		return err
	}
	_, err = io.CopyN(f, rand.Reader, bytes)
	return firstError(err, f.Sync(), f.Close())
}

// makeSnapshots gives each client a snapshot of a source volume.
func makeSnapshots(ctx context.Context, r *round) error {
	if err := makeSourceVolumes(ctx, r); err != nil {
		return err
	}
	for client, v := range r.volumes {
		id, err := r.snapshot(ctx, nil, client, r.name("p", client), v)
		if err != nil {
			return fmt.Errorf("CreateSnapshot: %w", err)
		}
		r.snapshots = append(r.snapshots, id)
	}
	return nil
}

// makePublished gives each client a volume that is published for it.
func makePublished(ctx context.Context, r *round) error {
	if err := makeVolumes(ctx, r); err != nil {
		return err
	}
	for client, v := range r.volumes {
		if err := r.publish(ctx, nil, client, v); err != nil {
			return err
		}
	}
	return nil
}

// takeHeld moves the volumes of operation "create" to this round.
func takeHeld(ctx context.Context, r *round) error {
	r.work, r.held = r.held, nil
	return nil
}

// clean removes what setup made, in the order that snapshots and mounts allow.
// It does so after an interrupt too.
func (r *round) clean() {
	ctx := context.Background()
	for client, id := range r.snapshots {
		_ = r.deleteSnapshot(ctx, nil, client, id)
	}
	for client, v := range r.volumes {
		if v.inUse {
			_ = r.unpublish(ctx, nil, client, v)
		}
		_ = r.delete(ctx, nil, client, v)
	}
}
