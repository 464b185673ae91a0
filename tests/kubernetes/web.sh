# shellcheck shell=bash disable=SC2154 # names that run sets
# The StatefulSet of every tutorial: "web" with a claim "www" for each replica.

page_size() { file_system_size_is "$1" /var/www/html "$2" "$3"; } # POD MINIMUM MAXIMUM

write_page() { in_pod "$1" "echo $2 >/var/www/html/index.html; sync"; } # POD TEXT

dns_agrees() { # POD
	local address answer
	address=$(field "pod/$1" '{.status.podIP}')
	answer=$(in_pod shell "nslookup $1.nginx.default.svc.cluster.local")
	echo "wanted $address in: $answer"
	grep -qF "$address" <<<"$answer"
}

new_pod_ready() { # POD UID: another pod than the one with that uid, and ready
	local now
	now=$(field "pod/$1" '{.metadata.uid}') && [ "$now" != "$2" ] && field_is "pod/$1" '{.status.containerStatuses[0].ready}' true
}

come_back() { # delete web-0 and web-1 and see that the StatefulSet makes them again
	local first second
	first=$(field pod/web-0 '{.metadata.uid}') && second=$(field pod/web-1 '{.metadata.uid}') && delete_pods web-0 web-1 &&
		within 120 new_pod_ready web-0 "$first" && within 120 new_pod_ready web-1 "$second"
}

scaled_to() { kubectl scale statefulset/web --replicas="$1" && rolled_out web; } # NUMBER

volume_id() { field "pv/$(field "pvc/$1" '{.spec.volumeName}')" '{.spec.csi.volumeHandle}'; } # CLAIM

test_web() {
	local volume
	look_at_objects statefulset/web pvc/www-web-0 pod/web-0 pod/web-1
	look_at_logs plinth csi-provisioner
	apply web.yaml
	check "StatefulSet web: 2 replicas roll out on new 1Gi volumes" rolled_out web
	passed || give_up "they need the StatefulSet"
	check "claims www-web-0 and www-web-1 are Bound" bound www-web-0 www-web-1
	check "the volume's record names the claim" record_names_claim www-web-0
	check "the volume is about 1Gi in the pod" page_size web-0 900000 1048576
	check "a pod to ask from is ready" ready shell
	for i in 0 1; do
		check "web-$i: its page is written" write_page web-$i page-of-web-$i
		check "web-$i serves it under its DNS name web-$i.nginx" within 20 page_is web-$i.nginx page-of-web-$i
	done
	check "nslookup web-0.nginx gives the pod's address" dns_agrees web-0
	check "the ClusterIP service answers" within 20 page nginx-vip
	volume=$(field pvc/www-web-0 '{.spec.volumeName}')
	check "both pods are deleted; the StatefulSet makes them again" come_back
	for i in 0 1; do check "web-$i still has its page" within 20 page_is web-$i.nginx page-of-web-$i; done
	check "web-0 kept its volume" field_is pvc/www-web-0 '{.spec.volumeName}' "$volume"
	check "scaled to 3: web-2 gets a volume" scaled_to 3
	check "claim www-web-2 is Bound" bound www-web-2
}
