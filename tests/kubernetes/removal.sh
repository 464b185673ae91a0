# shellcheck shell=bash disable=SC2154 # names that run sets
# Everything is deleted, and nothing is left: not in the cluster, not on the node, not in the pool.

delete_all() { # KIND...: every object of these kinds but the cluster's own
	local kind
	for kind; do kubectl delete "$kind" --all --timeout=120s || return 1; done
}

no_objects_left() {
	is "$(kubectl get pv,volumesnapshotcontent,volumegroupsnapshotcontent -o name)" ''
}

no_mounts_left() { is "$(on_node grep -e kubernetes.io~csi -e plugins/kubernetes.io/csi /proc/self/mountinfo)" ''; }

test_removal() {
	if [ -n "$KEEP" ]; then
		skip "everything is deleted, nothing is left" "KEEP=1"
		return
	fi
	look_at_objects pv volumesnapshotcontent
	look_at_logs plinth csi-provisioner csi-snapshotter
	check "group snapshot and snapshots are deleted" delete_all volumegroupsnapshot volumesnapshot
	check "StatefulSets and pods are deleted" delete_all statefulset pod
	check "claims are deleted" delete_all pvc
	check "no PersistentVolume and no snapshot content is left" within 60 no_objects_left
	check "no mount is left" within 20 no_mounts_left
	check "no loop device is left" within 20 no_loops_left
	check "nothing is left in the pool" within 20 pool_is_empty
}

test_end() {
	[ -n "$KEEP" ] || check "the driver still answers, and ends after SIGTERM with status 0" end_healthy_driver
}

end_healthy_driver() { healthy && end_driver TERM 0; }

down_and_clean() {
	"$lab/down.sh" || return 1
	is "$(grep -F " $LAB/" /proc/self/mountinfo)" '' && is "$(losetup -l -n -O NAME,BACK-FILE | grep -F "$LAB/")" '' &&
		is "$(lab_processes)" '' && is "$(find "$LAB" 2>/dev/null)" '' && is "$(ip -o link show "$WORKER_TAP" 2>/dev/null)" ''
}
