# Certificates and kubeconfigs, shaped as kubeadm makes them.

make_pki() {
  local i san
  umask 077
  mkdir -p "$STATE/pki/etcd"
  cd "$STATE/pki"
  local authority
  printf '[req]\ndistinguished_name = none\n[none]\n' > openssl.cnf
  for authority in ca front-proxy-ca etcd/ca; do
    [ -f $authority.crt ] ||
      new_certificate $authority "/CN=$(case $authority in ca) echo kubernetes;; etcd/ca) echo etcd-ca;; *) echo $authority;; esac)" 3650 \
        -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,digitalSignature,keyEncipherment -addext subjectKeyIdentifier=hash
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

# new_certificate NAME SUBJECT DAYS OPENSSL_ARGUMENTS...: a key and a certificate, by one process: starting openssl is what takes the time.
new_certificate() {
  local name=$1 subject=$2 days=$3; shift 3
  openssl req -config openssl.cnf -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$name.key" \
    -subj "$subject" -days "$days" -set_serial "0x$(od -An -N8 -tx8 /dev/urandom | tr -d ' ')" "$@" -out "$name.crt"
}

# certificate NAME SUBJECT USAGES [NAMES] [AUTHORITY]
certificate() {
  local name=$1 subject=$2 usages=$3 names=${4:-} authority=${5:-ca}
  [ ! -f "$name.crt" ] || return 0
  new_certificate "$name" "$subject" 365 -CA "$authority.crt" -CAkey "$authority.key" \
    -addext basicConstraints=critical,CA:FALSE -addext keyUsage=critical,digitalSignature,keyEncipherment -addext "extendedKeyUsage=$usages" \
    -addext authorityKeyIdentifier=keyid ${names:+-addext "subjectAltName=$names"}
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
