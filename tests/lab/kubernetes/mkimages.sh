#!/bin/bash
# mkimages.sh [DIRECTORY]: make the container images of the lab as OCI archives, without a registry, by default into the
# cache (env.sh). What is there already is skipped, and an archive appears only when it is whole.
# Inside the cluster they are called localhost/NAME:1. From nothing: about 3 minutes and 0.8 GB.
set -eu
# shellcheck source=/dev/null
. "$(dirname "$0")/env.sh"

IMAGES="pause shell nginx postgres mariadb"

debian() { # OUT.tar PACKAGES [OPTION...]: a Debian root file system with these packages, without documentation
	local out=$1 packages=$2 part
	shift 2
	for part in doc man locale info mysql/mysql-test; do set -- "$@" --dpkgopt="path-exclude=/usr/share/$part/*"; done
	TMPDIR=$work mmdebstrap --quiet --variant=essential --include="$packages" --mode=root --skip=cleanup/reproducible --dpkgopt=force-unsafe-io \
		--aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Languages "none"' "$@" bookworm "$out" "deb $mirror bookworm main"
}

pause_root() { # OUT.tar: the process that holds a pod's namespaces and reaps its orphans
	mkdir "$work/pause"
	gcc -Os -static -s -o "$work/pause/pause" -x c - <<-'C'
		#include <signal.h>
		#include <sys/wait.h>
		#include <unistd.h>
		static void down(int s) { (void)s; _exit(0); }
		static void reap(int s) { (void)s; while (waitpid(-1, 0, WNOHANG) > 0); }
		int main(void) { signal(SIGINT, down); signal(SIGTERM, down); signal(SIGCHLD, reap); for (;;) pause(); }
	C
	tar -C "$work/pause" --owner=0 --group=0 -cf "$1" .
}

shell_root() { # OUT.tar: the dynamic busybox, because names resolve only with glibc's own NSS, and the libraries it loads
	local root=$work/shell libraries=lib/x86_64-linux-gnu name
	mkdir -p "$root"/{bin,etc,tmp,proc,sys,dev,root,mnt,lib64,$libraries}
	chmod 1777 "$root/tmp"
	(cd "$work" && apt-get -qq -o APT::Sandbox::User=root download busybox && dpkg-deb -x busybox_*.deb busybox)
	cp "$work/busybox/bin/busybox" "$root/bin"
	cp -L /lib64/ld-linux-x86-64.so.2 "$root/lib64"
	for name in c.so.6 m.so.6 resolv.so.2 nss_dns.so.2 nss_files.so.2; do cp -L "/$libraries/lib$name" "$root/$libraries"; done
	for name in $("$root/bin/busybox" --list); do [ "$name" = busybox ] || ln -s busybox "$root/bin/$name"; done
	printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n' >"$root/etc/passwd"
	printf 'root:x:0:\nnogroup:x:65534:\n' >"$root/etc/group"
	tar -C "$root" --owner=0 --group=0 -cf "$1" .
}

root_of() { # IMAGE OUT.tar
	local postgres=/usr/lib/postgresql/15
	case $1 in
	pause) pause_root "$2" ;;
	shell) shell_root "$2" ;;
	nginx) debian "$2" nginx-light,busybox ;;
	postgres) # without the compiler of its queries
		debian "$2" postgresql-15,busybox --dpkgopt='path-exclude=/usr/lib/x86_64-linux-gnu/libLLVM*' --dpkgopt="path-exclude=$postgres/lib/bitcode/*" ;;
	mariadb) debian "$2" mariadb-server,busybox ;;
	esac
}

config_of() { # IMAGE: the "config" object of the OCI image
	local postgres=/usr/lib/postgresql/15/bin
	case $1 in
	pause) echo '{"Entrypoint": ["/pause"], "User": "65535:65535"}' ;;
	shell) echo '{"Cmd": ["/bin/sh"], "Env": ["PATH=/bin"]}' ;;
	nginx) echo '{"Cmd": ["nginx", "-g", "daemon off; error_log /dev/stderr;"], "ExposedPorts": {"80/tcp": {}}}' ;;
	postgres) echo "{\"Cmd\": [\"$postgres/postgres\"], \"User\": \"postgres\", \"Env\": [\"PATH=$postgres:/usr/sbin:/usr/bin:/sbin:/bin\"]}" ;;
	mariadb) echo '{"Cmd": ["/usr/sbin/mariadbd"], "User": "mysql"}' ;;
	esac
}

make_image() { # IMAGE
	local archive=$destination/$1.tar root=$work/$1.tar started=$SECONDS
	[ ! -s "$archive" ] || return 0
	printf '%-24s ' "image $1"
	root_of "$1" "$root"
	/usr/bin/python3 "$LAB_SOURCE/mkoci.py" "$archive.new" "localhost/$1:1" "$root" "$(config_of "$1")"
	mv "$archive.new" "$archive"
	rm -f "$root"
	echo "$((SECONDS - started)) s"
}

all_made() {
	local image
	for image in $IMAGES; do [ -s "$destination/$image.tar" ] || return 1; done
}

destination=${1:-$LAB_IMAGES}
lock_directory "$destination"
destination=$(cd "$destination" && pwd)
! all_made || exit 0
rm -rf --one-file-system "$destination"/.work.* # of a run that was killed
work=$(mktemp -d "$destination/.work.XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
apt-cache show busybox >/dev/null 2>&1 || apt-get -qq update
# shellcheck disable=SC2016 # REPO_URI is apt's
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Identifier: Packages' 'Origin: Debian' 'Codename: bookworm' | head -n 1)
: "${mirror:=http://deb.debian.org/debian}"
for image in $IMAGES; do make_image "$image"; done
