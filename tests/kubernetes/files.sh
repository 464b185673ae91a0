# shellcheck shell=bash disable=SC2034,SC2154 # names that other files read or set
# First part: a pool of files on the host's node. lvm.sh defines the same names for the second.

storage_node=$NODE node_lab=$LAB http=127.0.0.1:9809
socket=$node_lab/kubelet/plugins/$driver_name/csi.sock
pool=$LAB/pool
pool_option=scratch=file:path=$pool
provisioner_options=()
class=plinth
snapshot_is="shares the volume's blocks"

on_node() { "$@"; }           # COMMAND...
edit_manifest() { cat; }      # most claims are of the xfs class: a mounted ext4 grows only with CAP_SYS_RESOURCE, which may be missing
end_of_log() { [ ! -f "$LAB/log/$1" ] || tail -n 10 "$LAB/log/$1"; } # NAME

make_pool() { # on an xfs of its own, so that snapshots are reflinks whatever the machine's file system is
	truncate -s 40G "$LAB/pool.img"
	mkfs.xfs -q -m reflink=1 "$LAB/pool.img"
	mkdir "$pool"
	mount -o loop "$LAB/pool.img" "$pool"
}

# The claim is kept in the record of the volume, so that it can be found again without the cluster.
record_names_claim() { # CLAIM
	local record
	record=$pool/volumes/$(volume_id "$1")/meta.json
	cat "$record" && jq -e --arg claim "$1" '.claimNamespace == "default" and .claimName == $claim' "$record"
}

snapshot_is_so() { filefrag -v "$pool/snapshots/$(snapshot_id "$1")/data" | tee /dev/stderr | grep -qw shared; } # VOLUMESNAPSHOT

no_loops_left() { is "$(losetup -l -n -O NAME,BACK-FILE | grep -F "$pool/")" ''; }

pool_is_empty() { # whatever its layout: no image and no record anywhere
	is "$(find "$pool"/volumes "$pool"/snapshots -mindepth 1)" '' && is "$(find "$pool" -size +64k -o -name 'meta.json*')" ''
}

test_on_files() {
	make_pool
	test_driver
	test_web
	test_small
	test_copies
	test_growth
	test_restart
	test_events
	test_databases
	test_removal
	test_end
}
