# shellcheck shell=bash disable=SC2034,SC2154 # names that other files read or set
# Second part: a volume group, on a second node that is a private kernel (tests/lab/kubernetes/worker.sh). The driver and its
# sidecars run in that machine; one class makes thin volumes of the group, the other thick ones.

storage_node=$WORKER node_lab=/var/lib/lab http=$WORKER_IP:9809
socket=$node_lab/kubelet/plugins/$driver_name/csi.sock
group=vg0
pool_option=fast=lvm:vg=$group,thinpool=tp
provisioner_options=(--node-deployment)
provisioning=thin class=plinth-thin

worker() { "$lab/worker.sh" "$@"; }
on_node() { worker run "$(printf '%q ' "$@")"; } # COMMAND...

end_of_log() { # NAME
	case $1 in
	snapshot-controller) tail -n 10 "$LAB/log/$1" ;;
	*) on_node tail -n 10 "$node_lab/log/$1" ;;
	esac
}

edit_manifest() { sed -E -e "s/storageClassName: plinth(-xfs)?\\b/storageClassName: $class/" -e "s/PROVISIONING/$provisioning/"; }

use_provisioning() { # thin|thick
	provisioning=$1 class=plinth-$1
	case $1 in
	thin) snapshot_is="is a thin snapshot of the volume" ;;
	thick) snapshot_is="is a logical volume of its own" ;;
	esac
}

volumes() { on_node lvs --noheadings --separator=, -o "$1" "$group${2:+/$2}" | tr -d ' '; } # COLUMNS [VOLUME]

make_pool() { # every thin volume and snapshot is promised its whole size
	on_node vgcreate -qq "$group" /dev/ubdb &&
		on_node lvcreate -qq --yes --type thin-pool --size 20g --name tp "$group"
}

# The claim is in the tag of the volume, so that it can be found again without the cluster.
record_names_claim() { volumes lv_tags "$(volume_id "$1")" | tee /dev/stderr | grep -q ":default/$1\$"; } # CLAIM

volume_is_so() { # CLAIM
	case $provisioning in
	thin) is "$(volumes segtype,pool_lv "$(volume_id "$1")")" thin,tp ;;
	thick) is "$(volumes segtype,pool_lv "$(volume_id "$1")")" linear, ;;
	esac
}

snapshot_is_so() { # VOLUMESNAPSHOT
	case $provisioning in
	thin) is "$(volumes segtype,origin "$(snapshot_id "$1")")" "thin,$(volume_id www-web-0)" ;;
	thick) is "$(volumes segtype,origin "$(snapshot_id "$1")")" linear, ;;
	esac
}

no_loops_left() { is "$(on_node losetup -l -n)" ''; }

pool_is_empty() { # nothing but the thin pool, for LVM and for the kernel
	is "$(volumes lv_name)" tp && is "$(on_node dmsetup ls | grep -v "^$group-tp")" ''
}

# On this kernel a mounted ext4 grows too, so the claims are ext4. One is xfs.
test_other_file_system() {
	look_at_objects pvc/xfs pod/r-xfs
	look_at_logs plinth csi-provisioner csi-resizer
	apply xfs.yaml
	check "a claim of a class with xfs starts a pod" ready r-xfs
	check "it is xfs" in_pod_is r-xfs "awk '\$2 == \"/mnt\" { print \$3 }' /proc/mounts" xfs
	check "it grows from 400Mi to 800Mi while mounted" grown xfs 800Mi
	check "so does its file system" within 60 file_system_size_is r-xfs /mnt 700000 819200
}

pod_of_this_boot() { # POD: ready, in a container that was started after the power cut
	field_is "pod/$1" '{.status.containerStatuses[0].ready} {.status.containerStatuses[0].restartCount}' "true 1"
}

test_power_cut() {
	look_at_objects pod/web-0 pod/web-1 "node/$storage_node"
	look_at_logs plinth
	check "the machine's power is cut" worker stop
	check "it boots again, on the same disks" worker start
	passed || give_up "there is no worker"
	check "the driver starts again" driver_back
	for i in 0 1; do check "web-$i runs again" within 120 pod_of_this_boot "web-$i"; done
	check "with their data" within 30 pages_are_served
	check "the raw block volume too" within 60 in_pod_is r-raw 'dd if=/dev/xd bs=512 skip=100 count=1 2>/dev/null | head -c 7' rawdata
}

why_no_worker() { # prints the reason, or nothing
	local program
	for program in linux.uml modprobe lvm thin_check; do
		command -v "$program" >/dev/null || { echo "$program is missing; run tests/lab/install-packages tests/lab/packages-uml"; return; }
	done
	[ -c /dev/net/tun ] || { echo "there is no /dev/net/tun"; return; }
	"$lab/../uml/uml-run" --timeout 120 -- true >/dev/null 2>&1 || echo "user-mode Linux does not boot on this machine"
}

test_provisioning() { # thin|thick
	use_provisioning "$1"
	echo "--- $1 volumes"
	check "a CSIStorageCapacity of the class $class is published" within 60 capacity_published "$class"
	test_web
	check "the volume is a $1 logical volume" volume_is_so www-web-0
	test_small
	test_copies
	test_growth
	test_other_file_system
	if [ "$1" = thin ]; then test_restart; else test_power_cut; fi
	test_removal
}

test_on_lvm() {
	local reason
	reason=$(why_no_worker)
	if [ -n "$reason" ]; then
		skip "a second node with LVM" "$reason"
		return
	fi
	look_at_objects "node/$storage_node"
	look_at_logs kubelet containerd
	kubectl -n kube-system delete csistoragecapacities --all >/dev/null # of the first part
	check "a private kernel joins as the node $storage_node" worker start
	passed || give_up "there is no node with LVM"
	check "its empty disk becomes a volume group with a thin pool" make_pool
	test_driver
	test_provisioning thin
	test_provisioning thick
	test_end
}
