#!/bin/bash
# up.sh: start a one-node Kubernetes on this machine, everything as host processes of root: etcd, kube-apiserver (RBAC and
# Node authorizers), controller-manager, scheduler, containerd (its own root, state and socket), kubelet (its own root),
# kube-proxy (nftables), CoreDNS, snapshot-controller. down.sh stops it. Programs and images must be there (build-tools.sh,
# mkimages.sh); more flags for four of them come from LAB_APISERVER_FLAGS, LAB_KCM_FLAGS, LAB_SCHEDULER_FLAGS, LAB_KUBELET_FLAGS.
set -eu
# shellcheck source=/dev/null
. "$(dirname "$0")/env.sh"
# shellcheck source=/dev/null
. "$LAB_SOURCE/certificate.sh"

refuse_second_cluster() {
	local file link
	if [ -e "$LAB/.plinth-lab" ]; then
		for file in "$LAB"/pid/*; do ! running "$(basename "$file")" || die "the lab runs already in $LAB; stop it with down.sh"; done
		return
	fi
	for link in lab0 cni0; do [ ! -e "/sys/class/net/$link" ] || die "this machine has a network interface $link: another cluster?"; done
	[ -z "$(ls -A "$LAB" 2>/dev/null)" ] || die "$LAB is neither empty nor a lab"
}

directories() {
	local program
	for program in etcd kube-apiserver kube-controller-manager kube-scheduler kubelet kubectl kube-proxy coredns snapshot-controller; do
		[ -x "$LAB_BIN/$program" ] || die "no $program in $LAB_BIN; run build-tools.sh"
	done
	mkdir -p "$LAB"
	: >"$LAB/.plinth-lab" # down.sh removes no directory without it
	mkdir -p "$LAB"/{pki,log,pid,etcd,cni/bin,cni/conf,cni/ipam,kubelet/plugins_registry,containerd/root,containerd/state,volplugins}
}

# A bridge takes the lowest MAC address of its ports unless it has one of its own: when that pod went, all others would lose
# gateway, DNS and services for some 45 s, until their ARP entry has aged.
bridge() { # NAME MAC ADDRESS
	[ ! -e "/sys/class/net/$1" ] || return 0
	ip link add "$1" address "$2" type bridge
	ip addr add "$3" dev "$1"
	ip link set "$1" up
	sysctl -qw "net.ipv4.conf.$1.forwarding=1"
}

network() { # one bridge for the node's address, one for the pods; nothing of the pods leaves the machine
	local plugin
	modprobe -q br_netfilter || true # often built in
	bridge lab0 0a:58:ac:1e:00:01 "$NODE_IP/24"
	bridge cni0 0a:58:0a:f4:00:01 "$POD_GATEWAY/24"
	sysctl -qw net.bridge.bridge-nf-call-iptables=1
	nft -f - <<-N
		table inet lab
		delete table inet lab
		table inet lab {
			chain pods {
				type filter hook forward priority -10; policy accept;
				iifname { "cni0", "lab0" } oifname != { "cni0", "lab0" } drop;
			}
		}
	N
	for plugin in bridge host-local loopback portmap; do ln -sf "$LAB_BIN/cni-$plugin" "$LAB/cni/bin/$plugin"; done
	cat >"$LAB/cni/conf/10-lab.conflist" <<-J
		{"cniVersion": "0.4.0", "name": "lab", "plugins": [
		  {"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true,
		   "ipam": {"type": "host-local", "dataDir": "$LAB/cni/ipam", "routes": [{"dst": "0.0.0.0/0"}],
		            "ranges": [[{"subnet": "$POD_NET", "gateway": "$POD_GATEWAY"}]]}},
		  {"type": "portmap", "capabilities": {"portMappings": true}}]}
	J
}

authority() {
	[ ! -f ca.crt ] || return 0
	openssl ecparam -name prime256v1 -genkey -noout -out ca.key
	openssl genrsa -out sa.key 2048
	openssl rsa -in sa.key -pubout -out sa.pub
	openssl req -x509 -new -key ca.key -subj /CN=lab-ca -days 3650 -out ca.crt
}

certificates() {
	local service=kubernetes.default.svc name
	cd "$LAB/pki"
	authority
	certificate apiserver /CN=kube-apiserver \
		"IP:$NODE_IP,IP:127.0.0.1,IP:$API_SERVICE_IP,DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:$service,DNS:$service.cluster.local"
	certificate kubelet-server "/CN=$NODE" "IP:$NODE_IP,DNS:$NODE"
	certificate to-kubelet /O=system:masters/CN=apiserver
	certificate front-proxy /CN=front-proxy
	certificate admin /O=system:masters/CN=admin
	certificate kcm /CN=system:kube-controller-manager
	certificate scheduler /CN=system:kube-scheduler
	certificate proxy /CN=system:kube-proxy
	certificate kubelet "/O=system:nodes/CN=system:node:$NODE"
	for name in admin kcm scheduler proxy kubelet; do kubeconfig $name; done
	cd /
}

api_server() {
	local client=http://127.0.0.1:$ETCD_PORT peer=http://127.0.0.1:$((ETCD_PORT + 1)) pki=$LAB/pki
	start etcd etcd --name lab --data-dir "$LAB/etcd" --unsafe-no-fsync --log-level warn \
		--listen-client-urls "$client" --advertise-client-urls "$client" \
		--listen-peer-urls "$peer" --initial-advertise-peer-urls "$peer" --initial-cluster "lab=$peer"
	# shellcheck disable=SC2086 # words, as for all four LAB_*_FLAGS
	start kube-apiserver kube-apiserver --etcd-servers "$client" --bind-address $NODE_IP --advertise-address $NODE_IP \
		--secure-port $API_PORT --service-cluster-ip-range $SERVICE_NET --allow-privileged=true \
		--authorization-mode Node,RBAC --enable-admission-plugins NodeRestriction --client-ca-file "$pki/ca.crt" \
		--tls-cert-file "$pki/apiserver.crt" --tls-private-key-file "$pki/apiserver.key" \
		--service-account-key-file "$pki/sa.pub" --service-account-signing-key-file "$pki/sa.key" \
		--service-account-issuer https://kubernetes.default.svc \
		--kubelet-client-certificate "$pki/to-kubelet.crt" --kubelet-client-key "$pki/to-kubelet.key" \
		--kubelet-preferred-address-types InternalIP \
		--proxy-client-cert-file "$pki/front-proxy.crt" --proxy-client-key-file "$pki/front-proxy.key" \
		--requestheader-client-ca-file "$pki/ca.crt" --requestheader-allowed-names front-proxy \
		--requestheader-username-headers X-Remote-User --requestheader-group-headers X-Remote-Group \
		--requestheader-extra-headers-prefix X-Remote-Extra- ${LAB_APISERVER_FLAGS:-}
}

container_runtime() { # restrict_oom_score_adj: where CAP_SYS_RESOURCE is missing nothing may lower its own score
	cat >"$LAB/containerd.toml" <<-T
		version = 2
		root = "$LAB/containerd/root"
		state = "$LAB/containerd/state"
		disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
		                    "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]
		[grpc]
		  address = "$LAB/containerd.sock"
		[plugins."io.containerd.grpc.v1.cri"]
		  sandbox_image = "localhost/pause:1"
		  stream_server_address = "127.0.0.1"
		  restrict_oom_score_adj = true
		  [plugins."io.containerd.grpc.v1.cri".cni]
		    bin_dir = "$LAB/cni/bin"
		    conf_dir = "$LAB/cni/conf"
		  [plugins."io.containerd.grpc.v1.cri".containerd]
		    snapshotter = "overlayfs"
		    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
		      runtime_type = "io.containerd.runc.v2"
		      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
		        SystemdCgroup = false
	T
	start containerd containerd --config "$LAB/containerd.toml"
	wait_until 20 containerd_ctl version || die "containerd does not answer, see $LAB/log/containerd"
	import_image pause shell nginx
}

controllers() {
	local pki=$LAB/pki
	# shellcheck disable=SC2086
	start kube-controller-manager kube-controller-manager --kubeconfig "$pki/kcm.conf" --authentication-kubeconfig "$pki/kcm.conf" \
		--authorization-kubeconfig "$pki/kcm.conf" --leader-elect=false --bind-address 127.0.0.1 --use-service-account-credentials \
		--service-account-private-key-file "$pki/sa.key" --root-ca-file "$pki/ca.crt" \
		--cluster-signing-cert-file "$pki/ca.crt" --cluster-signing-key-file "$pki/ca.key" ${LAB_KCM_FLAGS:-}
	# shellcheck disable=SC2086
	start kube-scheduler kube-scheduler --kubeconfig "$pki/scheduler.conf" --authentication-kubeconfig "$pki/scheduler.conf" \
		--authorization-kubeconfig "$pki/scheduler.conf" --leader-elect=false --bind-address 127.0.0.1 ${LAB_SCHEDULER_FLAGS:-}
}

# syncFrequency: online expansion is noticed in a pod sync, which the default makes 60 s late.
kubelet_config() {
	cat <<-Y
		apiVersion: kubelet.config.k8s.io/v1beta1
		kind: KubeletConfiguration
		failCgroupV1: false
		cgroupDriver: cgroupfs
		failSwapOn: false
		containerRuntimeEndpoint: unix://$LAB/containerd.sock
		imageServiceEndpoint: unix://$LAB/containerd.sock
		address: $NODE_IP
		healthzBindAddress: 127.0.0.1
		clusterDomain: cluster.local
		clusterDNS: ["$NODE_IP"]
		resolvConf: $LAB/resolv.conf
		volumePluginDir: $LAB/volplugins
		podLogsDir: $LAB/podlogs
		tlsCertFile: $LAB/pki/kubelet-server.crt
		tlsPrivateKeyFile: $LAB/pki/kubelet-server.key
		authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $LAB/pki/ca.crt}}
		authorization: {mode: Webhook}
		imageGCHighThresholdPercent: 100
		evictionHard: {memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%, nodefs.inodesFree: 1%}
		enforceNodeAllocatable: [pods]
		volumeStatsAggPeriod: 10s
		syncFrequency: 10s
		maxPods: 200
	Y
}

node() { # the kubelet's root must be a shared mount
	mountpoint -q "$LAB/kubelet" || { mount --bind "$LAB/kubelet" "$LAB/kubelet" && mount --make-rshared "$LAB/kubelet"; }
	: >"$LAB/resolv.conf"
	kubelet_config >"$LAB/kubelet.yaml"
	# shellcheck disable=SC2086
	start kubelet kubelet --config "$LAB/kubelet.yaml" --root-dir "$LAB/kubelet" --kubeconfig "$LAB/pki/kubelet.conf" \
		--hostname-override "$NODE" --node-ip "$NODE_IP" --cert-dir "$LAB/pki" --v=2 ${LAB_KUBELET_FLAGS:-}
	start kube-proxy kube-proxy --kubeconfig "$LAB/pki/proxy.conf" --proxy-mode nftables --hostname-override "$NODE" --cluster-cidr "$POD_NET" \
		--healthz-bind-address 127.0.0.1:10256 --metrics-bind-address 127.0.0.1:10249 --conntrack-max-per-core 0
}

addons() { # DNS on the node's address, and the snapshot API
	cat >"$LAB/Corefile" <<-C
		.:53 {
		  bind $NODE_IP
		  errors
		  cache 5
		  kubernetes cluster.local in-addr.arpa {
		    kubeconfig $KUBECONFIG
		  }
		}
	C
	start coredns coredns -conf "$LAB/Corefile"
	kubectl apply -f "$LAB_BIN/crd" >"$LAB/log/crd"
	kubectl wait --for=condition=Established crd --all --timeout=60s >>"$LAB/log/crd"
	start snapshot-controller snapshot-controller --kubeconfig "$KUBECONFIG" --feature-gates=CSIVolumeGroupSnapshot=true
}

wait_for_node() {
	wait_until 60 kubectl get node "$NODE" || die "the kubelet does not register its node, see $LAB/log/kubelet"
	if ! kubectl wait --for=condition=Ready "node/$NODE" --timeout=120s >/dev/null; then
		kubectl describe node "$NODE" | tail -n 30
		die "the node is not Ready, see $LAB/log/kubelet"
	fi
	wait_until 30 kubectl -n default get serviceaccount default || die "no service account, see $LAB/log/kube-controller-manager"
}

all_alive() {
	local file name
	for file in "$LAB"/pid/*; do
		name=$(basename "$file")
		running "$name" || { tail -n 5 "$LAB/log/$name"; die "$name has died"; }
	done
}

refuse_second_cluster
directories
network
certificates 2>"$LAB/log/openssl"
api_server
container_runtime # while the API server comes up
wait_until 60 kubectl get --raw /readyz || die "kube-apiserver is not ready, see $LAB/log/kube-apiserver"
controllers
node
addons
wait_for_node
all_alive
echo "Kubernetes $(kubectl version -o json | jq -r .serverVersion.gitVersion) is up after $SECONDS s; KUBECONFIG=$KUBECONFIG"
