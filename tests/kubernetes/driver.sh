# shellcheck shell=bash disable=SC2154 # names that run, files.sh and lvm.sh set
# The driver under test and the sidecars on its socket, on the node that on_node reaches.

driver_name=csi.plinth.dev

start_driver() { # through a shell that keeps its exit status
	on_node mkdir -p "$(dirname "$socket")"
	# shellcheck disable=SC2016
	on_node start plinth sh -c '"$@"; echo "$?" >"$0"' "$node_lab/plinth.status" \
		"$DRIVER" node --endpoint "unix://$socket" --node-id "$storage_node" --kubelet-dir "$node_lab/kubelet" \
		--registration-dir "$node_lab/kubelet/plugins_registry" --http "$http" --state-dir "$node_lab/plinth-state" --pool "$pool_option"
}

start_sidecar() { # NAME OPTION...: in a pod, the names in its environment would be its own
	local name=$1
	shift
	on_node start "$name" env NODE_NAME="$storage_node" NAMESPACE=kube-system POD_NAME=none "$name" --kubeconfig "$KUBECONFIG" --csi-address "$socket" "$@"
}

start_sidecars() { # they leave when the driver does; in a pod the kubelet would start them again
	start_sidecar csi-provisioner --extra-create-metadata --default-fstype xfs --enable-capacity --capacity-ownerref-level=-1 \
		--feature-gates=Topology=true --strict-topology --retry-interval-max 10s "${provisioner_options[@]}"
	start_sidecar csi-snapshotter --extra-create-metadata --feature-gates=CSIVolumeGroupSnapshot=true
	start_sidecar csi-resizer --handle-volume-inuse-error=false
}

stop_sidecars() {
	local name
	for name in csi-provisioner csi-snapshotter csi-resizer; do on_node stop "$name"; done
}

end_driver() { # SIGNAL WANTED: send it, and see that the driver ends within 5 s with that exit status
	on_node eval "pkill -$1 -P \$(pid_of plinth) && wait_gone plinth 5" || { echo "it does not run, or is still there after 5 s"; return 1; }
	is "exit status $(on_node cat "$node_lab/plinth.status")" "exit status $2"
}

healthy() { curl -fsS --max-time 5 "http://$http/healthz"; }

registered() { field_is "csinode/$storage_node" '{.spec.drivers[*].name}' "$driver_name"; }

capacity_published() { # CLASS
	# shellcheck disable=SC2016
	kubectl -n kube-system get csistoragecapacities -o json | jq -e --arg class "$1" --arg key "$driver_name/node" --arg node "$storage_node" \
		'.items[] | select(.storageClassName == $class and .capacity != "0" and .nodeTopology.matchLabels[$key] == $node)'
}

test_driver() {
	look_at_objects "csinode/$storage_node"
	look_at_logs plinth csi-provisioner
	start_driver
	check "the driver listens on its socket" within 10 on_node test -S "$socket"
	passed || give_up "there is no driver"
	start_sidecars
	check "the driver answers /healthz" within 10 healthy
	check "the driver serves /metrics" curl -fsS --max-time 5 "http://$http/metrics"
	check "the kubelet has registered it: CSINode lists $driver_name" within 60 registered
	passed || give_up "there is no driver"
	check "its topology key is $driver_name/node" field_is "csinode/$storage_node" '{.spec.drivers[0].topologyKeys[*]}' "$driver_name/node"
	check "a CSIStorageCapacity is published" within 60 capacity_published "$class"
}
