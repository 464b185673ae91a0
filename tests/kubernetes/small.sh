# shellcheck shell=bash
# 10Mi claims on ext4, as in many tutorials. With 4 KiB blocks the journal takes 4 of the 10 MiB, its least size.

test_small() {
	look_at_objects statefulset/small pvc/data-small-0 pod/small-0
	look_at_logs plinth csi-provisioner
	apply small.yaml
	check "StatefulSet small: 2 replicas roll out on 10Mi volumes" rolled_out small
	if ! passed; then
		skip "the small volumes can be used" "the StatefulSet did not roll out"
		return
	fi
	check "they are ext4" in_pod_is small-0 "awk '\$2 == \"/data\" { print \$3 }' /proc/mounts" ext4
	check "the file system fits the 10Mi" file_system_size_is small-0 /data 5120 10240
	check "4 MiB are written" in_pod small-0 'dd if=/dev/urandom of=/data/file bs=1M count=4 && sha256sum /data/file >/data/sum && sync'
	check "small-0 is deleted and comes back" small_comes_back
	check "with its data" in_pod small-0 'cd / && sha256sum -c /data/sum'
	check "the volume's record names the claim" record_names_claim data-small-1
}

small_comes_back() {
	local uid
	uid=$(field pod/small-0 '{.metadata.uid}') && delete_pods small-0 && within 60 new_pod_ready small-0 "$uid"
}
