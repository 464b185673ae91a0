# shellcheck shell=bash
# Functions to source: pools on loop-mounted images in a scratch directory, in
# namespaces that take everything with them when they end. Used by the scripts
# here and by tests/bench/run.

# Makes an image of SIZE for a pool and mounts it: reflink is xfs, plain is ext4.
scratch_pool() { # reflink|plain SIZE IMAGE DIRECTORY
	truncate -s "$2" "$3"
	case $1 in
	reflink) mkfs.xfs -q -m reflink=1 "$3" ;;
	plain) mkfs.ext4 -q "$3" ;;
	esac
	mkdir -p "$4"
	mount -o loop "$3" "$4"
}

# Becomes COMMAND with private mounts and processes (call it as a background
# job): whatever COMMAND leaves mounted or running ends with it.
scratch_exec() { # COMMAND...
	exec unshare --mount --pid --fork --kill-child --mount-proc --propagation private "$@"
}

# Ends a scratch_exec job, with all its processes, and waits for them. (Killing
# the first process in a pid namespace does that; the job is its parent.)
scratch_kill() { # JOB-PID
	pkill -KILL -P "$1" || true
	wait "$1" 2>/dev/null || true
}

# Removes a scratch directory after scratch_exec has ended in it. Loop devices
# without autoclear outlive the namespaces: those on files of a pool (known by
# its device, for its mount is gone) and those on files of the directory.
scratch_remove() { # DIRECTORY
	local device autoclear file inner
	losetup -n -l -O NAME,AUTOCLEAR,BACK-FILE | while read -r device autoclear file; do
		case $file in "$1"/*) ;; *) continue ;; esac
		for inner in $(losetup -n -l -O NAME,AUTOCLEAR,BACK-MAJ:MIN |
			awk -v of="$(lsblk -ndo MAJ:MIN "$device" | xargs)" '$2 == 0 && $3 == of {print $1}'); do
			losetup -d "$inner"
		done
		[ "$autoclear" = 1 ] || losetup -d "$device"
	done
	rm -rf --one-file-system "$1"
}
