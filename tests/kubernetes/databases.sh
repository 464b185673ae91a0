# shellcheck shell=bash
# A primary and a replica of PostgreSQL and of MariaDB, each pod on a volume of its own.

postgres() { kubectl exec "$1" -- psql -h /tmp -U postgres -Atc "$2"; }            # POD SQL
mariadb() { kubectl exec "$1" -- mariadb -uroot -S /tmp/my.sock -Ne "$2"; } # POD SQL

sum_is() { # DATABASE POD TABLE WANTED
	is "$("$1" "$2" "select sum(a) from $3")" "$4"
}

database_comes_back() { # STATEFULSET
	local first second
	first=$(field "pod/$1-0" '{.metadata.uid}') && second=$(field "pod/$1-1" '{.metadata.uid}') && delete_pods "$1-0" "$1-1" &&
		within 120 new_pod_ready "$1-0" "$first" && within 120 new_pod_ready "$1-1" "$second"
}

test_database() { # DATABASE STATEFULSET TABLE CREATE
	local database=$1 set=$2 table=$3
	look_at_objects "statefulset/$set" "pod/$set-0" "pod/$set-1"
	look_at_logs plinth csi-provisioner
	import_image "$database"
	apply "$database.yaml"
	check "$database: primary and replica roll out" rolled_out "$set"
	if ! passed; then
		skip "$database: rows are written, replicated and kept" "it did not roll out"
		return
	fi
	check "$database: rows are written to the primary" within 30 "$database" "$set-0" "$4; insert into $table values (41), (1)"
	check "$database: the replica shows them" within 60 sum_is "$database" "$set-1" "$table" 42
	check "$database: both pods are deleted and come back" database_comes_back "$set"
	check "$database: the rows are still on the primary" within 60 sum_is "$database" "$set-0" "$table" 42
	check "$database: and on the replica" within 60 sum_is "$database" "$set-1" "$table" 42
	check "$database: another row is written" within 30 "$database" "$set-0" "insert into $table values (58)"
	check "$database: it reaches the replica" within 60 sum_is "$database" "$set-1" "$table" 100
}

test_databases() {
	test_database postgres pg t 'create table if not exists t (a int)'
	test_database mariadb my d.t 'create database if not exists d; create table if not exists d.t (a int)'
}
