# etcd and the three daemons of the control plane, with kubeadm's flags.

start_etcd() {
  local pki=$STATE/pki
  ! running etcd || { remark "runs already"; return 0; }
  ! port_taken 2379 || fail "port 2379 is taken: another etcd runs on this machine"
  start etcd "$(etcd_path)" --name default --data-dir "$STATE/etcd" \
    --listen-client-urls https://127.0.0.1:2379 --advertise-client-urls https://127.0.0.1:2379 \
    --listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 --initial-cluster default=http://127.0.0.1:2380 \
    --client-cert-auth --trusted-ca-file "$pki/etcd/ca.crt" --cert-file "$pki/etcd/server.crt" --key-file "$pki/etcd/server.key" \
    --quota-backend-bytes 8589934592
  eventually 20 answers etcd https://127.0.0.1:2379/health --cacert "$pki/etcd/ca.crt" --cert "$pki/apiserver-etcd-client.crt" --key "$pki/apiserver-etcd-client.key" \
    || fail "etcd does not become healthy: $(last_words etcd)" "$STATE/log/etcd.log"
}

start_apiserver() {
  local pki=$STATE/pki
  load_binaries
  ! running kube-apiserver || { remark "runs already"; return 0; }
  ! port_taken $API_PORT || fail "port $API_PORT is taken: another API server runs on this machine"
  start kube-apiserver "$(binary kube-apiserver)" \
    --etcd-servers=https://127.0.0.1:2379 --etcd-cafile="$pki/etcd/ca.crt" --etcd-certfile="$pki/apiserver-etcd-client.crt" --etcd-keyfile="$pki/apiserver-etcd-client.key" \
    --advertise-address="$NODE_NET.1" --secure-port="$API_PORT" --tls-cert-file="$pki/apiserver.crt" --tls-private-key-file="$pki/apiserver.key" \
    --client-ca-file="$pki/ca.crt" --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --enable-bootstrap-token-auth=true --allow-privileged=true \
    --service-cluster-ip-range="$SERVICE_CIDR" --service-account-issuer=https://kubernetes.default.svc.cluster.local \
    --service-account-key-file="$pki/sa.pub" --service-account-signing-key-file="$pki/sa.key" \
    --kubelet-client-certificate="$pki/apiserver-kubelet-client.crt" --kubelet-client-key="$pki/apiserver-kubelet-client.key" \
    --kubelet-preferred-address-types=InternalIP,ExternalIP,Hostname \
    --proxy-client-cert-file="$pki/front-proxy-client.crt" --proxy-client-key-file="$pki/front-proxy-client.key" \
    --requestheader-client-ca-file="$pki/front-proxy-ca.crt" --requestheader-allowed-names=front-proxy-client \
    --requestheader-extra-headers-prefix=X-Remote-Extra- --requestheader-group-headers=X-Remote-Group --requestheader-username-headers=X-Remote-User
  eventually 30 answers kube-apiserver "https://127.0.0.1:$API_PORT/readyz" --cacert "$pki/ca.crt" --cert "$pki/admin.crt" --key "$pki/admin.key" \
    || fail "kube-apiserver does not become ready: $(last_words kube-apiserver)" "$STATE/log/kube-apiserver.log"
}

start_controller_manager() {
  local pki=$STATE/pki
  load_binaries
  start kube-controller-manager "$(binary kube-controller-manager)" \
    --kubeconfig="$STATE/controller-manager.conf" --authentication-kubeconfig="$STATE/controller-manager.conf" --authorization-kubeconfig="$STATE/controller-manager.conf" \
    --bind-address=127.0.0.1 --client-ca-file="$pki/ca.crt" --requestheader-client-ca-file="$pki/front-proxy-ca.crt" --root-ca-file="$pki/ca.crt" \
    --service-account-private-key-file="$pki/sa.key" --cluster-signing-cert-file="$pki/ca.crt" --cluster-signing-key-file="$pki/ca.key" \
    --use-service-account-credentials=true --leader-elect=true \
    --cluster-name=kubernetes --allocate-node-cidrs=true --cluster-cidr="$POD_CIDR" --service-cluster-ip-range="$SERVICE_CIDR"
  eventually 30 kubectl_admin get serviceaccount -n default default \
    || fail "the controller manager does not make the default ServiceAccount: $(last_words kube-controller-manager)" "$STATE/log/kube-controller-manager.log"
}

start_scheduler() {
  load_binaries
  start kube-scheduler "$(binary kube-scheduler)" \
    --kubeconfig="$STATE/scheduler.conf" --authentication-kubeconfig="$STATE/scheduler.conf" --authorization-kubeconfig="$STATE/scheduler.conf" \
    --bind-address=127.0.0.1 --leader-elect=true
  eventually 30 answers kube-scheduler https://127.0.0.1:10259/healthz -k \
    || fail "kube-scheduler does not become healthy: $(last_words kube-scheduler)" "$STATE/log/kube-scheduler.log"
}

# answers NAME URL CURL_ARGUMENTS...: the daemon lives and its URL answers 200. A daemon that ended is not waited for.
answers() {
  local name=$1 url=$2; shift 2
  running "$name" || { echo "$name has ended"; return 3; }
  curl -sf --max-time 2 "$@" "$url"
}

port_taken() { ss -Htln "sport = :$1" | grep -q .; }
