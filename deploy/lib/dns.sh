# Cluster DNS, an ordinary Deployment (manifests/cluster-dns.yaml).

start_dns() {
  sed "s/@DNS_ADDRESS@/$DNS_ADDRESS/" "$HERE/manifests/cluster-dns.yaml" | kubectl_admin apply -f - || fail "the manifest of cluster DNS was refused"
  eventually 60 dns_available || fail "cluster DNS does not become available: $(dns_pods)"
}

dns_available() { kubectl_admin -n kube-system get deployment cluster-dns -o 'jsonpath={.status.availableReplicas}' | grep -q '[1-9]'; }

# Where each pod of cluster DNS is, what it waits for, what was told of it, and what keeps it off the nodes.
dns_pods() {
  kubectl_admin -n kube-system get pods -l k8s-app=kube-dns -o 'jsonpath={range .items[*]}{.metadata.name} on node "{.spec.nodeName}": {.status.phase}{range .status.conditions[?(@.status!="True")]}, {.type} {.status} {.reason} {.message}{end}{range .status.containerStatuses[*]}, {.state}{end}; {end}'
  kubectl_admin -n kube-system get events -o 'jsonpath={range .items[*]}{.involvedObject.name}: {.reason} {.message}; {end}'
  kubectl_admin get nodes -o 'jsonpath={range .items[*]}{.metadata.name}{range .spec.taints[*]} {.key}:{.effect}{end}; {end}'
}

wait_for_dns() {
  eventually 30 in_node 1 busybox nslookup -type=a kubernetes.default.svc.cluster.local "$DNS_ADDRESS" || fail "cluster DNS does not answer on $DNS_ADDRESS"
}
