# shellcheck shell=bash disable=SC2154 # names that other files set
# Volumes grow while they are in use, and the kubelet sees their figures.

ask_for() { kubectl patch "pvc/$1" --type merge -p "{\"spec\": {\"resources\": {\"requests\": {\"storage\": \"$2\"}}}}"; } # CLAIM SIZE

grown() { # CLAIM SIZE
	ask_for "$1" "$2" && kubectl wait --for=jsonpath='{.status.capacity.storage}'="$2" "pvc/$1" --timeout=120s
}

raw_block_grows() { ask_for raw 128Mi && within 120 in_pod_is r-raw 'blockdev --getsize64 /dev/xd' 134217728; }

has_volume_stats() { # CLAIM
	kubectl get --raw "/api/v1/nodes/$storage_node/proxy/stats/summary" |
		jq -e --arg claim "$1" '.pods[].volume[]? | select(.pvcRef.name == $claim and .capacityBytes > 0 and .inodes > 0)'
}

test_growth() {
	look_at_objects pvc/www-web-0 pvc/raw
	look_at_logs plinth csi-resizer
	check "claim www-web-0 grows to 2Gi while mounted" grown www-web-0 2Gi
	check "so does the file system in web-0" within 30 page_size web-0 1900000 2097152
	check "web-0 was not restarted for it" not_restarted web-0
	check "the raw block claim grows to 128Mi, and the pod sees the larger device" raw_block_grows
	check "the kubelet shows figures of the claim www-web-0" within 70 has_volume_stats www-web-0
}
