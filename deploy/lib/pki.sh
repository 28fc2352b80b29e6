# Certificates and kubeconfigs, shaped as kubeadm makes them.

make_pki() {
  local i san
  umask 077
  mkdir -p "$STATE/pki/etcd"
  cd "$STATE/pki"
  local authority
  for authority in ca front-proxy-ca etcd/ca; do
    [ -f $authority.crt ] || {
      new_key $authority
      openssl req -x509 -new -key $authority.key -subj "/CN=$(case $authority in ca) echo kubernetes;; etcd/ca) echo etcd-ca;; *) echo $authority;; esac)" -days 3650 -out $authority.crt \
        -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,digitalSignature,keyEncipherment
    }
  done
  [ -f sa.pub ] || { openssl genrsa -out sa.key 2048; openssl rsa -in sa.key -pubout -out sa.pub; }
  san="DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local,DNS:localhost,IP:127.0.0.1,IP:${SERVICE_CIDR%.0/*}.1,IP:$NODE_NET.1"
  certificate apiserver "/CN=kube-apiserver" serverAuth "$san"
  certificate apiserver-kubelet-client "/O=system:masters/CN=kube-apiserver-kubelet-client" clientAuth
  certificate apiserver-etcd-client "/CN=kube-apiserver-etcd-client" clientAuth "" etcd/ca
  certificate etcd/server "/CN=etcd" serverAuth,clientAuth "DNS:localhost,IP:127.0.0.1" etcd/ca
  certificate front-proxy-client "/CN=front-proxy-client" clientAuth "" front-proxy-ca
  kubeconfig admin "/O=system:masters/CN=kubernetes-admin"
  kubeconfig controller-manager "/CN=system:kube-controller-manager"
  kubeconfig scheduler "/CN=system:kube-scheduler"
  kubeconfig kube-proxy "/CN=system:kube-proxy"
  for i in $(seq "$NODES"); do kubeconfig "kubelet-node$i" "/O=system:nodes/CN=system:node:node$i"; done
}

new_key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1.key"; }

# certificate NAME SUBJECT USAGES [NAMES] [AUTHORITY]
certificate() {
  local name=$1 subject=$2 usages=$3 names=${4:-} authority=${5:-ca}
  [ ! -f "$name.crt" ] || return 0
  new_key "$name"
  { echo "basicConstraints=critical,CA:FALSE"; echo "keyUsage=critical,digitalSignature,keyEncipherment"; echo "extendedKeyUsage=$usages"; [ -z "$names" ] || echo "subjectAltName=$names"; } > "$name.ext"
  openssl req -new -key "$name.key" -subj "$subject" -out "$name.csr"
  openssl x509 -req -in "$name.csr" -CA "$authority.crt" -CAkey "$authority.key" -CAcreateserial -days 365 -extfile "$name.ext" -out "$name.crt"
  rm "$name.csr" "$name.ext"
}

# kubeconfig NAME SUBJECT: NAME.conf in the state folder, with its certificate inside.
kubeconfig() {
  [ ! -f "$STATE/$1.conf" ] || return 0
  certificate "$1" "$2" clientAuth
  cat > "$STATE/$1.conf" <<K
apiVersion: v1
kind: Config
clusters:
- name: pintle
  cluster: {server: "https://$NODE_NET.1:$API_PORT", certificate-authority-data: $(base64 -w0 ca.crt)}
users:
- name: $1
  user: {client-certificate-data: $(base64 -w0 "$1.crt"), client-key-data: $(base64 -w0 "$1.key")}
contexts:
- name: $1@pintle
  context: {cluster: pintle, user: $1}
current-context: $1@pintle
K
}
