package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
)

// serve starts the null driver and returns options to measure it.
func serve(t *testing.T) *options {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "csi.sock")
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(stop)
	go func() { _ = serveNull(ctx, socket) }()
	for range 500 {
		if _, err := os.Stat(socket); err == nil {
			break
		}
		time.Sleep(time.Millisecond)
	}
	return &options{
		endpoint: "unix://" + socket, clients: []int{1, 3}, count: 30, timeout: 10 * time.Second,
		capacity: 1 << 20, access: "mount", prefix: "test", workdir: t.TempDir(), idle: time.Millisecond,
	}
}

// lines runs o and returns what it printed.
func lines(t *testing.T, o *options) []line {
	t.Helper()
	stdout := os.Stdout
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	os.Stdout = w
	read := make(chan []byte)
	go func() { data, _ := io.ReadAll(r); read <- data }()
	err = run(context.Background(), o)
	os.Stdout = stdout
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	var out []line
	for decoder := json.NewDecoder(bytes.NewReader(<-read)); decoder.More(); {
		var l line
		if err := decoder.Decode(&l); err != nil {
			t.Fatal(err)
		}
		out = append(out, l)
	}
	return out
}

func TestOperationsAgainstTheNullDriver(t *testing.T) {
	o := serve(t)
	o.ops = []string{"probe", "create-delete", "create", "create-again", "delete", "delete-absent",
		"snapshot", "group-snapshot", "restore", "clone", "publish", "stats", "expand", "lifecycle", "idle"}
	calls := map[string]int{}
	for _, l := range lines(t, o) {
		if l.Errors > 0 {
			t.Errorf("%s %s: %s", l.Run, l.Name, l.FirstError)
		}
		if l.Run != "idle" && l.N != o.count {
			t.Errorf("%s %s: %d calls, want %d", l.Run, l.Name, l.N, o.count)
		}
		if l.Server == nil || l.Server.After.RSSKiB == 0 {
			t.Errorf("%s %s: the server was not watched", l.Run, l.Name)
		}
		calls[l.Run+" "+l.Name]++
	}
	if left, _ := filepath.Glob(filepath.Join(o.workdir, "*", "*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	for _, want := range []string{"restore CreateVolume.restore", "clone CreateVolume.clone", "publish NodeStageVolume",
		"publish NodeUnpublishVolume", "lifecycle NodeGetVolumeStats", "lifecycle lifecycle", "delete DeleteVolume",
		"expand NodeExpandVolume", "group-snapshot GetVolumeGroupSnapshot"} {
		if calls[want] != len(o.clients) {
			t.Errorf("%q was printed %d times, want once for each number of clients", want, calls[want])
		}
	}
}

func TestUnsupportedCallsAreErrors(t *testing.T) {
	o := serve(t)
	o.ops = []string{"list", "capacity", "get-volume", "node-health"} // the null driver has none
	for _, l := range lines(t, o) {
		if l.Errors != l.N || l.Codes["Unimplemented"] != l.N {
			t.Errorf("%s: %d calls, %d errors, %v", l.Name, l.N, l.Errors, l.Codes)
		}
	}
}

func TestUselessAnswersAreErrors(t *testing.T) {
	request := &csi.CreateVolumeRequest{
		CapacityRange:       &csi.CapacityRange{RequiredBytes: 10},
		VolumeContentSource: &csi.VolumeContentSource{},
	}
	good := &csi.Volume{VolumeId: "v", CapacityBytes: 10, ContentSource: &csi.VolumeContentSource{}}
	if err := checkCreated(good, request); err != nil {
		t.Error(err)
	}
	for _, bad := range []*csi.Volume{
		nil,
		{CapacityBytes: 10, ContentSource: good.ContentSource},
		{VolumeId: "v", CapacityBytes: 9, ContentSource: good.ContentSource},
		{VolumeId: "v", CapacityBytes: 10},
	} {
		if checkCreated(bad, request) == nil {
			t.Errorf("%v was accepted", bad)
		}
	}
}

func TestParseBytes(t *testing.T) {
	for text, want := range map[string]int64{"0": 0, "512": 512, "4Ki": 4096, "1Gi": 1 << 30, "2M": 2e6} {
		if got, err := parseBytes(text); err != nil || got != want {
			t.Errorf("%s is %d (%v), want %d", text, got, err, want)
		}
	}
	if _, err := parseBytes("1X"); err == nil {
		t.Error("1X was accepted")
	}
}
