package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"csiload/load"
)

// bench is one driver under measurement and what was learnt about it.
type bench struct {
	o        *options
	server   load.Server
	conns    []*conn // one for each client
	workdir  string
	ownDir   bool
	topology *csi.TopologyRequirement
	nodeID   string
	caps     capabilities

	rounds int
	mu     sync.Mutex
	held   []*volume // made by operation "create" and not yet deleted
}

// conn is one client's view of the driver.
type conn struct {
	csi.IdentityClient
	csi.ControllerClient
	csi.GroupControllerClient
	csi.NodeClient
	close func() error
}

type capabilities struct {
	stage, publish bool // NodeStage and ControllerPublish are to be called
}

type volume struct {
	id             string
	bytes          int64
	context        map[string]string
	publishContext map[string]string
	staging        string
	target         string
	inUse          bool // publish was begun and unpublish not
}

func newBench(ctx context.Context, o *options) (*bench, error) {
	pid, err := load.PeerPid(socketPath(o.endpoint))
	if err != nil {
		return nil, err
	}
	b := &bench{o: o, workdir: o.workdir, server: load.Server{Pid: pid}}
	for range slices.Max(o.clients) {
		c, err := connect(o.endpoint)
		if err != nil {
			return nil, err
		}
		b.conns = append(b.conns, c)
	}
	if err := b.learn(ctx); err != nil {
		return nil, err
	}
	if b.workdir == "" {
		dir, err := os.MkdirTemp("", "csiload-")
		if err != nil {
			return nil, err
		}
		b.workdir, b.ownDir = dir, true
	}
	return b, nil
}

func connect(endpoint string) (*conn, error) {
	c, err := dial(endpoint)
	if err != nil {
		return nil, err
	}
	return &conn{csi.NewIdentityClient(c), csi.NewControllerClient(c), csi.NewGroupControllerClient(c), csi.NewNodeClient(c), c.Close}, nil
}

func dial(endpoint string) (*grpc.ClientConn, error) {
	return grpc.NewClient("unix:"+socketPath(endpoint),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(256<<20)))
}

// learn asks what a sidecar and kubelet would ask at their start. Every answer
// is optional, so a driver with only some of the services can be measured.
func (b *bench) learn(ctx context.Context) error {
	c := b.conns[0]
	ctx, cancel := context.WithTimeout(ctx, b.o.timeout)
	defer cancel()
	for _, each := range b.conns {
		if _, err := each.Probe(ctx, &csi.ProbeRequest{}, grpc.WaitForReady(true)); err != nil {
			return fmt.Errorf("the driver does not answer Probe: %w", err)
		}
	}
	if r, err := c.ControllerGetCapabilities(ctx, &csi.ControllerGetCapabilitiesRequest{}); err == nil {
		for _, cap := range r.GetCapabilities() {
			if cap.GetRpc().GetType() == csi.ControllerServiceCapability_RPC_PUBLISH_UNPUBLISH_VOLUME {
				b.caps.publish = true
			}
		}
	}
	if r, err := c.NodeGetCapabilities(ctx, &csi.NodeGetCapabilitiesRequest{}); err == nil {
		for _, cap := range r.GetCapabilities() {
			if cap.GetRpc().GetType() == csi.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME {
				b.caps.stage = true
			}
		}
	}
	if info, err := c.NodeGetInfo(ctx, &csi.NodeGetInfoRequest{}); err == nil {
		b.nodeID = info.GetNodeId()
		if t := info.GetAccessibleTopology(); t != nil {
			b.topology = &csi.TopologyRequirement{Requisite: []*csi.Topology{t}, Preferred: []*csi.Topology{t}}
		}
	}
	return nil
}

// measure runs one operation with one number of clients, prints its lines and
// returns how many calls failed.
func (b *bench) measure(ctx context.Context, op *operation, clients int) (int, error) {
	b.rounds++
	r := &round{bench: b, clients: clients, serial: b.rounds}
	if op.setup != nil {
		if err := op.setup(ctx, r); err != nil {
			r.clean()
			return 0, fmt.Errorf("preparation: %w", err)
		}
	}
	spec := load.Spec{Clients: clients, Count: b.o.count, Warmup: b.o.warmup, Duration: b.o.duration}
	if op.count != nil {
		spec.Count, spec.Warmup = op.count(r), 0
	}
	if b.o.counted != "" {
		spec.Counter = load.LineCounter(b.o.counted)
	}
	var before load.Usage
	steps := load.Run(ctx, spec, func() { before = b.server.Begin() },
		func(ctx context.Context, client, i int, rec *load.Recorder) { op.turn(ctx, r, client, i, rec) })
	cost := b.server.End(before)
	r.clean()
	failed := 0
	for _, s := range steps {
		failed += s.Errors
		emit(b.o, op.name, s, cost)
	}
	return failed, nil
}

func (b *bench) close() {
	if !b.o.keep {
		for _, v := range b.held {
			_ = b.delete(context.Background(), nil, 0, v)
		}
	}
	for _, c := range b.conns {
		_ = c.close()
	}
	if !b.ownDir {
		return
	}
	// Only empty directories: a mount that is still there must survive.
	for _, dir := range []string{"staging", "target", ""} {
		_ = os.Remove(filepath.Join(b.workdir, dir))
	}
}
