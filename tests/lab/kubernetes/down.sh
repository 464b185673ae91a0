#!/bin/bash
# down.sh: stop everything that runs in the lab, unmount, remove bridges, rules and cgroups, and delete $LAB.
# Also good after a crash or a half-finished up.sh. Does nothing where there is no lab.
set -u
# shellcheck source=/dev/null
. "$(dirname "$0")/env.sh"

stop_containers() { # containerd is needed for that; it may have been killed
	[ -f "$LAB/containerd.toml" ] || return 0
	running containerd || start containerd containerd --config "$LAB/containerd.toml"
	for _ in {1..50}; do containerd_ctl version && break; sleep 0.1; done
	for task in $(containerd_ctl tasks ls -q); do containerd_ctl tasks kill -a -s KILL "$task"; done
	for _ in {1..20}; do
		for task in $(containerd_ctl tasks ls -q); do containerd_ctl tasks rm -f "$task"; done
		[ -n "$(containerd_ctl tasks ls -q)" ] || break
		sleep 0.3
	done
	for container in $(containerd_ctl containers ls -q); do containerd_ctl containers rm "$container"; done
}

# The kubelet puts a loop device of its own on a raw block volume. Once the bind mount is gone its backing file reads "/",
# so loop devices go before and after the mounts.
detach_loops() {
	losetup -n -O NAME,BACK-FILE -l | while read -r device file; do
		case $file in "$LAB"/*) losetup -d "$device" ;; esac
	done
}

mounts() { awk -v below="$LAB/" 'index($5, below) == 1 { print $5 }' /proc/self/mountinfo | sort -r; }

unmount_all() { # deepest first, and lazily what stays busy
	for options in '' '' '' --lazy; do
		mounts | while read -r path; do umount $options "$(printf '%b' "$path")" 2>/dev/null; done
		[ -n "$(mounts)" ] || return 0
		sleep 0.3
	done
}

remove_network() {
	for name in $(ip netns list | awk '/^cni-/ { print $1 }'); do ip netns del "$name"; done
	for link in cni0 "$WORKER_TAP" lab0; do ip link del "$link"; done
	for table in "inet lab" "ip kube-proxy" "ip6 kube-proxy"; do
		# shellcheck disable=SC2086 # family and name
		nft delete table $table
	done
}

remove_cgroups() {
	for root in /sys/fs/cgroup/*/kubepods /sys/fs/cgroup/kubepods /sys/fs/cgroup/*/k8s.io /sys/fs/cgroup/k8s.io; do
		[ ! -d "$root" ] || find "$root" -depth -type d -exec rmdir {} \;
	done
}

[ -e "$LAB/.plinth-lab" ] || { echo "no lab in $LAB"; exit 0; }
for name in worker csi-snapshotter csi-provisioner csi-resizer snapshot-controller coredns kube-proxy kube-scheduler kube-controller-manager kubelet; do
	stop $name
done
stop_containers >/dev/null 2>&1
for name in kube-apiserver etcd; do stop $name 2; done # in this order; the one waits long for the other
for file in "$LAB"/pid/*; do [ ! -f "$file" ] || stop "$(basename "$file")"; done
for pid in $(lab_processes); do kill -KILL -- "-$pid" "$pid" 2>/dev/null; done # and its group: processes inside of user-mode Linux
detach_loops
unmount_all
detach_loops
remove_network 2>/dev/null
remove_cgroups 2>/dev/null
if [ -n "$(mounts)" ]; then die "still mounted, so $LAB stays: $(mounts | head -n 3)"; fi
rm -rf --one-file-system "$LAB"
echo "the lab in $LAB is gone"
