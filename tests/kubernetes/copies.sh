# shellcheck shell=bash disable=SC2154 # names that run sets
# Snapshot, restore to a larger volume, clone, raw block, and a group snapshot of the StatefulSet's claims.

ready_to_use() { kubectl wait --for=jsonpath='{.status.readyToUse}'=true "$1" --timeout=180s; } # OBJECT

snapshot_id() { # VOLUMESNAPSHOT
	field "volumesnapshotcontent/$(field "volumesnapshot/$1" '{.status.boundVolumeSnapshotContentName}')" '{.status.snapshotHandle}'
}

raw_block_works() {
	in_pod_is r-raw 'echo rawdata | dd of=/dev/xd bs=512 seek=100 conv=sync,fsync 2>/dev/null
		dd if=/dev/xd bs=512 skip=100 count=1 2>/dev/null | head -c 7; blockdev --getsize64 /dev/xd' rawdata67108864
}

member_snapshots_are() { # NUMBER: snapshots beside the one made by name
	is "$(kubectl get volumesnapshot -o name | grep -vc /snap0)" "$1"
}

members_ready() { # every member snapshot can be used by itself
	is "$(kubectl get volumesnapshot -o 'jsonpath={.items[*].status.readyToUse}')" "true true true true"
}

test_snapshot() {
	look_at_objects volumesnapshot/snap0
	look_at_logs plinth csi-snapshotter snapshot-controller
	apply snapshot.yaml
	check "VolumeSnapshot of www-web-0 is ready to use" ready_to_use volumesnapshot/snap0
	check "in the pool it $snapshot_is" snapshot_is_so snap0
	check "web-0: its page is changed after the snapshot" write_page web-0 changed
}

test_copies() {
	test_snapshot
	look_at_objects pod/r-restored pvc/restored pod/r-cloned pvc/cloned pod/r-raw pvc/raw
	look_at_logs plinth csi-provisioner
	apply copies.yaml
	check "restored to a new 2Gi claim, mounted in a pod" ready r-restored
	check "it holds the snapshot's page, not the later change" in_pod_is r-restored 'cat /mnt/index.html' page-of-web-0
	check "its file system has grown to 2Gi" file_system_size_is r-restored /mnt 1900000 2097152
	check "the source still has the change" page_is web-0.nginx changed
	check "a clone of www-web-1 is mounted in a pod" ready r-cloned
	check "it holds the page of web-1" in_pod_is r-cloned 'cat /mnt/index.html' page-of-web-1
	check "a raw block volume (ReadWriteOncePod) starts a pod" ready r-raw
	check "the block device has 64Mi and keeps what is written" raw_block_works
	test_group
}

test_group() {
	look_at_objects volumegroupsnapshot/all volumegroupsnapshotcontent
	look_at_logs plinth csi-snapshotter snapshot-controller
	apply group.yaml
	check "VolumeGroupSnapshot of the 3 claims is ready to use" ready_to_use volumegroupsnapshot/all
	check "it has made 3 member snapshots" within 20 member_snapshots_are 3
	check "each of them is ready to use" within 120 members_ready
}
