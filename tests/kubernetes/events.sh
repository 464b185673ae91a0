# shellcheck shell=bash
# Errors must reach the person who made the claim.

claim_event_says() { # CLAIM TEXT...
	local claim=$1 events text
	shift
	events=$(kubectl get events --field-selector "involvedObject.name=$claim" -o 'jsonpath={range .items[*]}{.message}{"\n"}{end}')
	echo "$events"
	for text; do grep -qF "$text" <<<"$events" || return 1; done
}

test_events() {
	look_at_objects pvc/unknown-parameter
	look_at_logs plinth csi-provisioner
	apply unknown-parameter.yaml
	check "an unknown StorageClass parameter is named in the claim's events" within 30 \
		claim_event_says unknown-parameter "code = InvalidArgument" flavour
	check "the claim stays Pending" field_is pvc/unknown-parameter '{.status.phase}' Pending
	check "it can be deleted" kubectl delete pvc/unknown-parameter storageclass/unknown-parameter --timeout=30s
}
