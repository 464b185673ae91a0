# shellcheck shell=bash disable=SC2034 # most of these are used by the scripts that source this file
# Sourced by every script of the Kubernetes lab: its places, its addresses, and the functions they share.
# Places may be set from outside. Everything a running cluster writes lies below $LAB.

LAB_SOURCE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

digest() { # FILE|DIRECTORY...: 12 hex digits of the contents; what is built from them is cached under that name
	(cd "$LAB_SOURCE" && find "$@" -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum | cut -c1-12)
}

: "${PLINTH_CACHE:=${HOME:-/root}/.cache/plinth}"
: "${LAB:=/var/tmp/plinth-lab}"
: "${LAB_BIN:=$PLINTH_CACHE/kubernetes-tools-$(digest mods build-tools.sh)}"
: "${LAB_IMAGES:=$PLINTH_CACHE/kubernetes-images-$(digest mkimages.sh mkoci.py)}"

NODE=node0 NODE_IP=172.30.0.1 API_PORT=6443 ETCD_PORT=23790
POD_NET=10.244.0.0/24 POD_GATEWAY=10.244.0.1 SERVICE_NET=10.96.0.0/16 API_SERVICE_IP=10.96.0.1
WORKER=node1 WORKER_IP=172.30.0.2 WORKER_POD_NET=10.244.1.0/24 WORKER_TAP=lab-worker # worker.sh

export KUBECONFIG=$LAB/pki/admin.conf
export PATH=$LAB_BIN:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:$PATH:/usr/local/go/bin

die() { echo "$(basename "$0"): $*" >&2; exit 1; }
containerd_ctl() { ctr --address "$LAB/containerd.sock" -n k8s.io "$@"; }

# --- one builder at a time in a directory of the cache

lock_directory() { # DIRECTORY: make it and hold it until this script ends
	mkdir -p "$1"
	exec 9>"$1/.lock"
	flock -n 9 || { echo "waiting for another run that fills $1"; flock 9; }
}

# --- the programs of the cluster: a log in $LAB/log/NAME, and in $LAB/pid/NAME the process id with the time of
# --- its start (clock ticks after boot), because an id alone may long name another process. A mark in their
# --- environment finds those whose starter was killed before it could write that down

start_time() { sed -n 's/.*) [^Z] //p' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f19; } # nothing for a zombie

start() { # NAME COMMAND...: run it in the background, in a session of its own
	local name=$1 pid
	shift
	PLINTH_LAB_PROCESS=$LAB setsid "$@" >>"$LAB/log/$name" 2>&1 </dev/null 3>&- 4>&- 8>&- 9>&- &
	pid=$!
	echo "$pid $(start_time "$pid")" >"$LAB/pid/$name"
}

pid_of() { # NAME: its process id, if it runs
	local pid='' since=''
	read -r pid since 2>/dev/null <"$LAB/pid/$1" || return 1
	[ -n "$since" ] && [ "$(start_time "$pid")" = "$since" ] && echo "$pid"
}

lab_processes() { grep -lsazxF "PLINTH_LAB_PROCESS=$LAB" /proc/[0-9]*/environ | cut -d/ -f3; } # their ids

running() { pid_of "$1" >/dev/null; }

stop() { # NAME [SECONDS]: terminate it; kill it when it is still there after so many seconds
	local pid
	if pid=$(pid_of "$1"); then
		kill -TERM "$pid" 2>/dev/null || true
		wait_gone "$1" "${2:-10}" || kill -KILL "$pid" 2>/dev/null || true
	fi
	rm -f "$LAB/pid/$1"
}

wait_gone() { # NAME SECONDS
	local i
	for ((i = 0; i < $2 * 20; i++)); do
		running "$1" || return 0
		sleep 0.05
	done
	return 1
}

wait_until() { # SECONDS COMMAND...
	local end=$((SECONDS + $1))
	shift
	until "$@" >/dev/null 2>&1; do
		[ "$SECONDS" -lt "$end" ] || return 1
		sleep 0.1
	done
}

import_image() { # NAME...: give the node those images of mkimages.sh that it does not have yet
	local name
	for name; do
		containerd_ctl images ls -q | grep -qx "localhost/$name:1" && continue
		containerd_ctl images import "$LAB_IMAGES/$name.tar" >>"$LAB/log/import" 2>&1 || die "cannot import the image $name, see $LAB/log/import"
	done
}
