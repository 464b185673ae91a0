#!/bin/bash
# build-tools.sh [DIRECTORY]: build the programs of the lab from the Go module proxy, by default into the cache (env.sh).
# What is there already is skipped, and a program appears only when it is whole: a run may be interrupted and repeated.
# From nothing on two cores: 8 to 10 minutes, 5 GB of Go's own build cache, 1 GB of programs.
set -eu
# shellcheck source=/dev/null
. "$(dirname "$0")/env.sh"

# All but two share one module graph, Kubernetes' own, so that client-go is compiled once and not five times.
# The provisioner does not compile against that client-go. csi-provisioner 6.4 is not to be had from the proxy.
# program | module in mods/ | package
PROGRAMS="
kubelet                 kubernetes  k8s.io/kubernetes/cmd/kubelet
kube-apiserver          kubernetes  k8s.io/kubernetes/cmd/kube-apiserver
kube-controller-manager kubernetes  k8s.io/kubernetes/cmd/kube-controller-manager
kube-scheduler          kubernetes  k8s.io/kubernetes/cmd/kube-scheduler
kubectl                 kubernetes  k8s.io/kubernetes/cmd/kubectl
kube-proxy              kubernetes  k8s.io/kubernetes/cmd/kube-proxy
etcd                    kubernetes  go.etcd.io/etcd/server/v3
coredns                 kubernetes  .
csi-snapshotter         kubernetes  github.com/kubernetes-csi/external-snapshotter/v8/cmd/csi-snapshotter
snapshot-controller     kubernetes  github.com/kubernetes-csi/external-snapshotter/v8/cmd/snapshot-controller
csi-resizer             kubernetes  github.com/kubernetes-csi/external-resizer/v2/cmd/csi-resizer
csi-provisioner         provisioner github.com/kubernetes-csi/external-provisioner/v6/cmd/csi-provisioner
cni-bridge              cni         github.com/containernetworking/plugins/plugins/main/bridge
cni-host-local          cni         github.com/containernetworking/plugins/plugins/ipam/host-local
cni-loopback            cni         github.com/containernetworking/plugins/plugins/main/loopback
cni-portmap             cni         github.com/containernetworking/plugins/plugins/meta/portmap
"

version_flags() { # PROGRAM: linker flags for the version it reports; the kubelet and the API server compare theirs
	local version=k8s.io/component-base/version client=k8s.io/client-go/pkg/version
	case $1 in
	kube*) echo "-X $version.gitVersion=v1.37.1 -X $version.gitMajor=1 -X $version.gitMinor=37 -X $version.gitTreeState=clean" \
		"-X $version.buildDate=2026-09-23T17:06:22Z -X $client.gitVersion=v1.37.1 -X $client.gitMajor=1 -X $client.gitMinor=37" ;;
	csi-provisioner) echo "-X main.version=v6.3.0" ;;
	csi-snapshotter | snapshot-controller) echo "-X main.version=v8.7.0" ;;
	csi-resizer) echo "-X main.version=v2.3.0" ;;
	esac
}

build() { # PROGRAM MODULE PACKAGE
	local log=$destination/$1.log started=$SECONDS
	[ ! -x "$destination/$1" ] || return 0
	printf '%-24s ' "$1"
	if ! (cd "$LAB_SOURCE/mods/$2" && go build -ldflags "-s -w $(version_flags "$1")" -o "$destination/$1.new" "$3") >"$log" 2>&1 </dev/null; then
		echo "failed, see $log"
		tail -n 20 "$log"
		exit 1
	fi
	mv "$destination/$1.new" "$destination/$1"
	rm -f "$log"
	echo "$((SECONDS - started)) s"
}

snapshot_api() { # the CustomResourceDefinitions of the snapshot API come inside its client module
	local module
	[ ! -d "$destination/crd" ] || return 0
	module=$(cd "$LAB_SOURCE/mods/kubernetes" && go list -m -f '{{.Dir}}' github.com/kubernetes-csi/external-snapshotter/client/v8)
	rm -rf "$destination/crd.new"
	mkdir "$destination/crd.new"
	install -m 0644 "$module"/config/crd/*snapshot.storage*.yaml "$destination/crd.new"
	mv "$destination/crd.new" "$destination/crd"
}

command -v go >/dev/null || die "Go is missing (1.26 or later, https://go.dev/dl)"
destination=${1:-$LAB_BIN}
lock_directory "$destination"
destination=$(cd "$destination" && pwd)
# Without debug data: half the build cache. The proxy serves modules, not toolchains.
export CGO_ENABLED=0 GOWORK=off GOTOOLCHAIN=local GOFLAGS="-buildvcs=false -trimpath -gcflags=all=-dwarf=false"
while read -r program module package; do
	[ -z "$program" ] || build "$program" "$module" "$package"
done <<<"$PROGRAMS"
snapshot_api
