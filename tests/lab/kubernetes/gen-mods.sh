#!/bin/bash
# gen-mods.sh NAME MODULE VERSION [STAGING_VERSION]: write mods/NAME/go.mod from the go.mod of MODULE@VERSION.
# The same requirements; replaces by local path are dropped, those of k8s.io's staging modules point to STAGING_VERSION.
# For raising versions:
#
#   gen-mods.sh cni github.com/containernetworking/plugins v1.9.1
#   gen-mods.sh provisioner github.com/kubernetes-csi/external-provisioner/v6 v6.3.0 v0.36.1
#   gen-mods.sh kubernetes k8s.io/kubernetes v1.37.1 v0.37.1
#   (cd mods/kubernetes && s=github.com/kubernetes-csi/external-snapshotter && go get go.etcd.io/etcd/server/v3@v3.7.1 \
#     github.com/coredns/coredns/coremain@v1.15.0 github.com/kubernetes-csi/external-resizer/v2/cmd/csi-resizer@v2.3.0 \
#     $s/v8/cmd/csi-snapshotter@v8.7.0 $s/client/v8@v8.7.0)
#
# and then in each module `go list -mod=mod -deps PACKAGE...`, with its packages of build-tools.sh, which fills go.sum.
set -eu
# shellcheck source=/dev/null
. "$(dirname "$0")/env.sh"

[ $# -ge 3 ] || { sed -n '2,/^set/s/^#[ ]\{0,1\}//p' "$0" >&2; exit 2; }
name=$1 module=$2 version=$3 staging=${4:-}
source=$(cd / && go mod download -json "$module@$version" | jq -r .GoMod)
mkdir -p "$LAB_SOURCE/mods/$name"
go mod edit -json "$source" | jq -r --arg name "$name" --arg upstream "$module" --arg version "$version" --arg staging "$staging" '
	def local_path: .New.Path | startswith(".");
	"module plinth.test/\($name)\n\ngo \(.Go)\n",
	(.Godebug[]? | "godebug \(.Key)=\(.Value)\n"),
	"require \($upstream) \($version)\n\nrequire (",
	(.Require[]? | "\t\(.Path) \(if .Version == "v0.0.0" then $staging else .Version end)\(if .Indirect then " // indirect" else "" end)"),
	")\n",
	(.Replace[]? | select(local_path | not) | "replace \(.Old.Path) => \(.New.Path) \(.New.Version)"),
	(.Replace[]? | select(local_path and (.Old.Path | startswith("k8s.io/"))) | "replace \(.Old.Path) => \(.Old.Path) \($staging)")
' >"$LAB_SOURCE/mods/$name/go.mod"
