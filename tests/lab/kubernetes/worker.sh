#!/bin/bash
# worker.sh COMMAND: a second node, "node1", for the cluster of up.sh. It is a private kernel (tests/lab/uml) that has
# device-mapper, so LVM works there.
#   start            boot it and wait until the node is Ready
#   run COMMAND...   run it in the machine as root, in a bash that has read env.sh; one at a time, its output comes at the end
#   stop             cut its power; start boots it again on the same disks
# LAB_WORKER_DISK: size of the empty disk /dev/ubdb (48G, sparse), LAB_WORKER_IMAGES: "pause shell nginx", LAB_WORKER_MEMORY: 2G.
# In the machine the host's files have their paths, read-only; its own disk is /var/lib/lab, which is $LAB there.
set -eu
# shellcheck source=/dev/null
. "$(dirname "$0")/env.sh"
# shellcheck source=/dev/null
. "$LAB_SOURCE/certificate.sh"
inside=/var/lib/lab directory=$LAB/worker

run() { # COMMAND...: hand it over in a directory that both sides can write, and wait
	local file=$directory/commands/$$.$RANDOM status end=$((SECONDS + 300))
	printf '%s\n' "$*" >"$file.new"
	mv "$file.new" "$file.command"
	until [ -f "$file.status" ]; do
		running worker || die "the worker does not run; its last words: $(tail -n 5 "$LAB/log/worker")"
		[ "$SECONDS" -lt "$end" ] || die "the worker does not answer: $*"
		sleep 0.05
	done
	cat "$file.output"
	status=$(cat "$file.status")
	rm -f "$file".*
	return "$status"
}

stop_worker() {
	stop worker
	rm -rf "$directory/commands"
	ip link del "$WORKER_TAP" 2>/dev/null || true
}

network() { # the tap is a port of the nodes' bridge, so nothing leaves the machine; the host routes the node's pods to it
	ip tuntap add "$WORKER_TAP" mode tap
	ip link set "$WORKER_TAP" master lab0 up
	ip route replace "$WORKER_POD_NET" via "$WORKER_IP"
}

certificates() {
	cd "$LAB/pki"
	certificate worker-server "/CN=$WORKER" "IP:$WORKER_IP,DNS:$WORKER"
	certificate worker "/O=system:nodes/CN=system:node:$WORKER"
	kubeconfig worker
	cd /
}

configuration() { # that of the host's node, with the worker's paths and address
	local file
	for file in containerd.toml kubelet.yaml; do
		sed -e "s#$LAB/pki/kubelet-server#$inside/pki/worker-server#" -e "s#$LAB/#$inside/#g" -e "s#^address: .*#address: $WORKER_IP#" "$LAB/$file" >"$directory/$file"
	done
	cat >"$directory/10-lab.conflist" <<-J
		{"cniVersion": "0.4.0", "name": "lab", "plugins": [
		  {"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true,
		   "ipam": {"type": "host-local", "dataDir": "$inside/cni/ipam", "routes": [{"dst": "0.0.0.0/0"}],
		            "ranges": [[{"subnet": "$WORKER_POD_NET"}]]}}]}
	J
}

disks() { # sparse
	[ -f "$directory/system" ] || { truncate -s 8G "$directory/system" && mkfs.ext4 -qF "$directory/system"; }
	[ -f "$directory/disk" ] || truncate -s "${LAB_WORKER_DISK:-48G}" "$directory/disk"
}

boot() {
	TMPDIR=$directory start worker "$LAB_SOURCE/../uml/uml-run" --mem "${LAB_WORKER_MEMORY:-2G}" --timeout 0 --tap "$WORKER_TAP" \
		--disk "$directory/system" --disk "$directory/disk" --out "$directory/commands" --console "$directory/console" \
		--env HOST_LAB="$LAB" --env LAB="$inside" --env LAB_BIN="$LAB_BIN" --env LAB_IMAGES="$LAB_IMAGES" \
		--env LAB_WORKER_IMAGES="${LAB_WORKER_IMAGES:-pause shell nginx}" -- "$LAB_SOURCE/worker-inside.sh"
}

ready_since_boot() { # ID: after a power cut the Node object still says Ready for a while
	[ "$(kubectl get node "$WORKER" -o 'jsonpath={.status.nodeInfo.bootID} {.status.conditions[?(@.type=="Ready")].status}')" = "$1 True" ]
}

start_worker() {
	local boot_id
	! running worker || die "the worker runs already"
	kubectl get --raw /readyz >/dev/null || die "there is no cluster; run up.sh"
	stop_worker
	mkdir -p "$directory/commands"
	network
	certificates 2>>"$LAB/log/openssl"
	configuration
	disks
	boot
	boot_id=$(run cat /proc/sys/kernel/random/boot_id) || die "it did not boot: $(tail -n 5 "$LAB/log/worker")"
	wait_until 120 ready_since_boot "$boot_id" || die "$WORKER is not Ready; see: $0 run tail -n 20 $inside/log/kubelet"
	echo "$WORKER is Ready after $SECONDS s"
}

case ${1:-} in
start) start_worker ;;
run) shift && run "$@" ;;
stop) stop_worker ;;
*) sed -n '2,/^set/{/^#/p}' "$0" >&2 && exit 2 ;;
esac
