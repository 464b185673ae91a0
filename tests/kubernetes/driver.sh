# shellcheck shell=bash
# The driver under test, the pool it serves and the sidecars on its socket.

driver_name=csi.plinth.dev
socket=$LAB/kubelet/plugins/$driver_name/csi.sock
pool=$LAB/pool
http=127.0.0.1:9809

make_pool() { # on an xfs of its own, so that snapshots are reflinks whatever the machine's file system is
	truncate -s 40G "$LAB/pool.img"
	mkfs.xfs -q -m reflink=1 "$LAB/pool.img"
	mkdir "$pool"
	mount -o loop "$LAB/pool.img" "$pool"
}

start_driver() {
	mkdir -p "$(dirname "$socket")"
	start plinth "$DRIVER" node --endpoint "unix://$socket" --node-id "$NODE" --kubelet-dir "$LAB/kubelet" \
		--registration-dir "$LAB/kubelet/plugins_registry" --http "$http" --state-dir "$LAB/plinth-state" --pool "scratch=file:path=$pool"
}

start_sidecars() { # they leave when the driver does; in a pod the kubelet would start them again
	export NODE_NAME=$NODE NAMESPACE=kube-system POD_NAME=none # for the provisioner's topology and capacity objects
	start csi-provisioner csi-provisioner --kubeconfig "$KUBECONFIG" --csi-address "$socket" --extra-create-metadata --default-fstype xfs \
		--enable-capacity --capacity-ownerref-level=-1 --feature-gates=Topology=true --strict-topology --retry-interval-max 10s
	start csi-snapshotter csi-snapshotter --kubeconfig "$KUBECONFIG" --csi-address "$socket" --extra-create-metadata \
		--feature-gates=CSIVolumeGroupSnapshot=true
	start csi-resizer csi-resizer --kubeconfig "$KUBECONFIG" --csi-address "$socket" --handle-volume-inuse-error=false
}

stop_sidecars() {
	local name
	for name in csi-provisioner csi-snapshotter csi-resizer; do stop "$name"; done
}

end_driver() { # SIGNAL WANTED: send it, and see that the driver ends within 5 s with that exit status
	local pid status=0
	pid=$(pid_of plinth) || { echo "the driver does not run"; return 1; }
	kill "-$1" "$pid"
	wait_gone plinth 5 || { echo "still there after 5 s"; return 1; }
	wait "$pid" || status=$?
	is "exit status $status" "exit status $2"
}

healthy() { curl -fsS --max-time 5 "http://$http/healthz"; }

registered() { field_is "csinode/$NODE" '{.spec.drivers[*].name}' "$driver_name"; }

capacity_published() { kubectl -n kube-system get csistoragecapacities -o json | jq -e '.items[] | select(.storageClassName == "plinth" and .capacity != "0")'; }

test_driver() {
	look_at_objects "csinode/$NODE"
	look_at_logs plinth csi-provisioner
	start_driver
	check "the driver listens on its socket" within 10 test -S "$socket"
	passed || give_up "there is no driver"
	start_sidecars
	check "the driver answers /healthz" within 10 healthy
	check "the driver serves /metrics" curl -fsS --max-time 5 "http://$http/metrics"
	check "the kubelet has registered it: CSINode lists $driver_name" within 60 registered
	passed || give_up "there is no driver"
	check "its topology key is $driver_name/node" field_is "csinode/$NODE" '{.spec.drivers[0].topologyKeys[*]}' "$driver_name/node"
	check "a CSIStorageCapacity is published" within 60 capacity_published
}
