# shellcheck shell=bash disable=SC2154 # names of env.sh
# Certificates of the cluster's authority and kubeconfigs with them; sourced after env.sh, used in $LAB/pki.

certificate() { # NAME SUBJECT [ALTERNATIVE NAMES]
	[ ! -f "$1.crt" ] || return 0
	openssl ecparam -name prime256v1 -genkey -noout -out "$1.key"
	openssl req -new -key "$1.key" -subj "$2" -out "$1.csr"
	openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 3650 -out "$1.crt" \
		-extfile <(printf 'basicConstraints=CA:FALSE\nkeyUsage=digitalSignature\nextendedKeyUsage=serverAuth,clientAuth\n%s' "${3:+subjectAltName=$3}")
	rm "$1.csr"
}

kubeconfig() { # NAME: for the certificate of that name
	cat >"$1.conf" <<-C
		{"apiVersion": "v1", "kind": "Config", "current-context": "lab",
		 "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "lab"}}],
		 "clusters": [{"name": "lab", "cluster": {"server": "https://$NODE_IP:$API_PORT", "certificate-authority": "$LAB/pki/ca.crt"}}],
		 "users": [{"name": "lab", "user": {"client-certificate": "$LAB/pki/$1.crt", "client-key": "$LAB/pki/$1.key"}}]}
	C
}
