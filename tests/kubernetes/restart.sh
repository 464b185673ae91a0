# shellcheck shell=bash
# The driver goes while pods use its volumes: they must not notice, and the next process must know everything.

pages_are_served() { page_is web-0.nginx changed && page_is web-1.nginx page-of-web-1; }

driver_back() {
	start_driver && within 20 healthy && stop_sidecars && start_sidecars
}

restart() { # SIGNAL STATUS NAME
	check "the driver ends after $3 with status $2" end_driver "$1" "$2"
	check "without it the pods still serve their data" pages_are_served
	check "it starts again" driver_back
	check "the kubelet still has it registered" within 30 registered
	check "after it the pods still serve their data" pages_are_served
	check "no pod was restarted" not_restarted web-0
	check "pods are deleted and come back on the new process" come_back
	check "with their data" within 20 pages_are_served
	check "the raw block volume still has its data" in_pod_is r-raw 'dd if=/dev/xd bs=512 skip=100 count=1 2>/dev/null | head -c 7' rawdata
}

test_restart() {
	look_at_objects pod/web-0 pod/web-1
	look_at_logs plinth
	restart TERM 0 SIGTERM
	restart KILL 137 SIGKILL
	check "the new process makes volumes: scaled to 4, web-3 gets one" scaled_to 4
}
