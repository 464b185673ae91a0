#!/bin/bash
# worker-inside.sh: what worker.sh runs in its machine: containerd and the kubelet, then the commands that are handed over.
# Expects HOST_LAB, LAB, LAB_BIN, LAB_IMAGES and LAB_WORKER_IMAGES.
set -eu
# shellcheck source=/dev/null
. "$(dirname "$0")/env.sh"
host=$HOST_LAB/worker

machine() {
	modprobe -a bridge veth dm-thin-pool dm-snapshot dm-raid
	sysctl -qw net.ipv4.ip_forward=1
	ip addr add "$WORKER_IP/24" dev vec0
	ip link set vec0 up
	ip route add default via "$NODE_IP"
	hostname "$WORKER"
	{ cat /proc/cpuinfo && echo "cpu MHz : 1000.000"; } >/run/cpuinfo # the kubelet wants a clock rate
	mount --bind /run/cpuinfo /proc/cpuinfo
	mkdir -p "$LAB"
	mount /dev/ubda "$LAB"
	mount --make-rshared / # as on a machine with systemd
}

directories() {
	local plugin
	mkdir -p "$LAB"/{log,cni/bin,cni/conf,kubelet/plugins_registry,volplugins}
	rm -rf "$LAB/pid" && mkdir "$LAB/pid" # of the time before a power cut
	ln -sfn "$HOST_LAB/pki" "$LAB/pki"
	cp "$host/containerd.toml" "$host/kubelet.yaml" "$LAB/"
	cp "$host/10-lab.conflist" "$LAB/cni/conf/"
	: >"$LAB/resolv.conf"
	for plugin in bridge host-local loopback; do ln -sf "$LAB_BIN/cni-$plugin" "$LAB/cni/bin/$plugin"; done
}

node() {
	start containerd containerd --config "$LAB/containerd.toml"
	wait_until 60 containerd_ctl version
	# shellcheck disable=SC2086 # words
	import_image $LAB_WORKER_IMAGES
	start kubelet kubelet --config "$LAB/kubelet.yaml" --root-dir "$LAB/kubelet" --kubeconfig "$LAB/pki/worker.conf" \
		--hostname-override "$WORKER" --node-ip "$WORKER_IP" --cert-dir "$LAB" --v=2
}

run_command() { # FILE: without .command
	local command
	command=$(cat "$1.command")
	rm "$1.command"
	set +e
	(eval "$command") >"$1.output" 2>&1 </dev/null 9>&-
	echo "$?" >"$1.part"
	set -e
	mv "$1.part" "$1.status"
}

run_commands() { # looks five times a second: the host's directory tells of no changes
	local file
	mkfifo /run/never
	exec 9<>/run/never # reading from it is a sleep without a process
	while :; do
		for file in "$host"/commands/*.command; do [ ! -f "$file" ] || run_command "${file%.command}"; done
		read -r -t 0.2 -u 9 || true
	done
}

machine
directories
node
run_commands
