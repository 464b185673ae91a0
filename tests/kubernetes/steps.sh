# shellcheck shell=bash disable=SC2034,SC2154 # names that run sets or reads
# One step of the test is one line: PASS, FAIL or SKIP, the seconds since the beginning, and what was to be seen.
# A step that fails shows what its command said, the ends of the logs and the objects that the part of the test named.

passed=0 failed=0 skipped=0 last=''
objects=() logs=()

steps_begin() { step_output=$(mktemp "$LAB/step.XXXXXX"); }

report() { # PASS|FAIL|SKIP NAME
	printf '%-4s %4ds  %s\n' "$1" "$SECONDS" "$2"
	last=$1
	case $1 in
	PASS) passed=$((passed + 1)) ;;
	FAIL) failed=$((failed + 1)) ;;
	SKIP) skipped=$((skipped + 1)) ;;
	esac
}

check() { # NAME COMMAND...: one step. Always succeeds; ask passed for the outcome
	local name=$1 output=${step_output:-/dev/null}
	shift
	if "$@" >"$output" 2>&1; then
		report PASS "$name"
	else
		report FAIL "$name"
		evidence "$output"
	fi
}

passed() { [ "$last" = PASS ]; }
skip() { report SKIP "$1 ($2)"; } # NAME REASON

give_up() { # REASON: end the test here
	skip "all further steps" "$1"
	finished=yes
	exit 1
}

summary() { # the last line of the test, and its exit status
	echo "$passed passed, $failed failed, $skipped skipped"
	[ "$failed" = 0 ] || exit 1
	exit 0
}

# --- what to show when a step fails

look_at_objects() { objects=("$@"); } # OBJECT...: for kubectl describe
look_at_logs() { logs=("$@"); }       # NAME...: of $LAB/log

evidence() { # FILE: with what the command said
	local name
	quote "the command said" tail -n 10 "$1"
	[ -d "$LAB/log" ] || return 0
	for name in "${logs[@]}"; do quote "end of the log of $name" end_of_log "$name"; done
	for name in "${objects[@]}"; do quote "kubectl describe $name" describe "$name"; done
}

describe() { kubectl describe --request-timeout=10s "$1" | tail -n 10; }

quote() { # TITLE COMMAND...: its output, indented
	echo "     --- $1"
	shift
	"$@" 2>&1 | cut -c1-800 | sed 's/^/     | /' || true
}

# --- what steps are made of: each succeeds or fails, and says what it saw

within() { # SECONDS COMMAND...: repeat it until it succeeds; the last time its words are kept
	local end=$((SECONDS + $1))
	shift
	while [ "$SECONDS" -lt "$end" ]; do
		"$@" >/dev/null 2>&1 && return 0
		sleep 0.2
	done
	"$@"
}

is() { # SEEN WANTED
	echo "saw '$1', wanted '$2'"
	[ "$1" = "$2" ]
}

field() { kubectl get "$1" -o "jsonpath=$2"; }         # OBJECT JSONPATH
field_is() { is "$(field "$1" "$2")" "$3"; }           # OBJECT JSONPATH WANTED
in_pod() { kubectl exec "$1" -- sh -c "$2"; }          # POD SCRIPT
in_pod_is() { is "$(in_pod "$1" "$2")" "$3"; }         # POD SCRIPT WANTED
apply() { edit_manifest <"$here/manifests/$1" | kubectl apply -f - >/dev/null; } # FILE
ready() { kubectl wait --for=condition=Ready "pod/$1" --timeout=120s; } # POD

bound() { # CLAIM...
	kubectl wait --for=jsonpath='{.status.phase}'=Bound "${@/#/pvc/}" --timeout=60s
}

rolled_out() { # STATEFULSET
	kubectl rollout status "statefulset/$1" --timeout=240s
}

delete_pods() { kubectl delete pod "$@" --timeout=90s; }

file_system_size_is() { # POD PATH MINIMUM MAXIMUM (KiB)
	local size
	size=$(in_pod "$1" "df -k $2" | awk 'END { print $2 }') && echo "the file system has $size KiB, wanted $3 to $4" &&
		[ "$size" -ge "$3" ] && [ "$size" -le "$4" ]
}

page() { # HOST: what its web server sends, asked from the pod "shell"; without the headers
	in_pod shell "printf 'GET / HTTP/1.0\r\nHost: $1\r\n\r\n' | timeout 3 nc $1 80" | tr -d '\r' | sed '1,/^$/d'
}

page_is() { is "$(page "$1")" "$2"; } # HOST WANTED

not_restarted() { # POD
	field_is "pod/$1" '{.status.containerStatuses[*].restartCount}' 0
}
