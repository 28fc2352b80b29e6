# Cluster DNS, an ordinary Deployment (manifests/cluster-dns.yaml).

start_dns() {
  sed "s/@DNS_ADDRESS@/$DNS_ADDRESS/" "$HERE/manifests/cluster-dns.yaml" | kubectl_admin apply -f - || fail "the manifest of cluster DNS was refused"
  eventually 60 dns_available || fail "cluster DNS does not become available: $(kubectl_admin -n kube-system get pods -l k8s-app=kube-dns --no-headers | xargs)"
}

dns_available() { [ "$(kubectl_admin -n kube-system get deployment cluster-dns -o 'jsonpath={.status.availableReplicas}')" -ge 1 ]; }

wait_for_dns() {
  eventually 30 in_node 1 busybox nslookup -type=a kubernetes.default.svc.cluster.local "$DNS_ADDRESS" || fail "cluster DNS does not answer on $DNS_ADDRESS"
}
