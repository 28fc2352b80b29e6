# A node: a set of namespaces (network, mount, pid, uts, ipc, cgroup) held by a pause process, its PID 1. Inside, everything is at its usual
# place; those places are bind mounts of the state folder's node folder. Ending the holder ends every process of the node.

NODE_PLACES="var/lib/kubelet var/lib/containerd var/lib/cni var/log etc/cni/net.d etc/kubernetes"

start_node() {
  local i=$1 dir=$STATE/node$1 place
  load_binaries
  if node_runs "$i"; then
    [ ! -S "/proc/$(cat "$dir/pid")/root/run/containerd/containerd.sock" ] || { remark "runs already"; return 0; }
  else
    for place in $NODE_PLACES; do mkdir -p "/$place" "$dir/$place"; done
    mkdir -p "$dir/etc/kubernetes/manifests" "$dir/sys" "$dir/log"
    node_files "$i"
    make_node_cgroups "$i"
    hold_namespaces "$i"
  fi
  in_node_background "$i" containerd "${CONTAINERD:-containerd}" --config "$dir/containerd.toml"
  eventually 30 in_node "$i" ctr version || fail "containerd on node$i does not answer: $(tail -n 1 "$dir/log/containerd.log" | cut -c1-300)" "$dir/log/containerd.log"
}

node_runs() {
  [ -s "$STATE/node$1/pid" ] && [ "$(readlink "/proc/$(cat "$STATE/node$1/pid")/exe" 2>/dev/null)" = "$STATE/pause" ]
}

# The node's files that differ between nodes or machines.
node_files() {
  local i=$1 dir=$STATE/node$1
  # The kubelet sets these kernel values for the whole machine; inside a node they are plain files with the wanted values.
  echo 10 > "$dir/sys/kernel.panic"; echo 1 > "$dir/sys/kernel.panic_on_oops"; echo 1 > "$dir/sys/vm.overcommit_memory"
  cp "$STATE/pki/ca.crt" "$dir/etc/kubernetes/ca.crt"
  cp "$STATE/kubelet-node$i.conf" "$dir/etc/kubernetes/kubelet.conf"
  cp "$STATE/kube-proxy.conf" "$dir/etc/kubernetes/kube-proxy.conf"
  # The host's own name server, where it has one: what cluster DNS does not know is asked there.
  grep -E '^(nameserver|search|options)' /etc/resolv.conf > "$dir/etc/resolv.conf" 2>/dev/null || true
  grep -q '^nameserver' "$dir/etc/resolv.conf" || echo "nameserver 127.0.0.1" > "$dir/etc/resolv.conf"
  cat > "$dir/containerd.toml" <<C
version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "$PAUSE_IMAGE"
  disable_apparmor = true
  restrict_oom_score_adj = true
  tolerate_missing_hugetlb_controller = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
C
  cat > "$dir/etc/kubernetes/kubelet.yaml" <<C
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: /etc/kubernetes/ca.crt}
authorization: {mode: Webhook}
cgroupDriver: cgroupfs
failCgroupV1: false
clusterDNS: [$DNS_ADDRESS]
clusterDomain: cluster.local
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
staticPodPath: /etc/kubernetes/manifests
resolvConf: /etc/resolv.conf
# The nodes share the machine's disk: its fill level says nothing about one node.
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: 50Mi, nodefs.available: 100Mi, imagefs.available: 100Mi}
serializeImagePulls: false
failSwapOn: false
C
  cat > "$dir/etc/kubernetes/kube-proxy.yaml" <<C
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clusterCIDR: $POD_CIDR
hostnameOverride: node$i
clientConnection: {kubeconfig: /etc/kubernetes/kube-proxy.conf}
# Connection tracking limits belong to the machine, not to a node in a namespace.
conntrack: {maxPerCore: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
C
}

# A cgroup per hierarchy (or one, with cgroup v2): the node's cgroup root.
make_node_cgroups() {
  local i=$1 hierarchy group
  if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    sed 's/\(^\| \)/ +/g' /sys/fs/cgroup/cgroup.controllers > /sys/fs/cgroup/cgroup.subtree_control
    # Processes may only be in leaves: the node's own are in "init" below its root.
    mkdir -p "/sys/fs/cgroup/pintle-node$i/init"
    sed 's/\(^\| \)/ +/g' "/sys/fs/cgroup/pintle-node$i/cgroup.controllers" > "/sys/fs/cgroup/pintle-node$i/cgroup.subtree_control"
    return
  fi
  for hierarchy in /sys/fs/cgroup/*/; do
    [ -e "$hierarchy/tasks" ] || continue
    group=$hierarchy/pintle-node$i
    mkdir -p "$group"
    if [ -e "$group/cpuset.cpus" ]; then
      cat "$hierarchy/cpuset.cpus" > "$group/cpuset.cpus"
      cat "$hierarchy/cpuset.mems" > "$group/cpuset.mems"
      echo 1 > "$group/cgroup.clone_children"
    fi
  done
}

node_cgroups() { ls -d /sys/fs/cgroup/pintle-node"$1" /sys/fs/cgroup/*/pintle-node"$1" 2>/dev/null || true; }

# The node's PID 1: enters the cgroups and the network namespace, makes the other namespaces, mounts, then only holds them open.
hold_namespaces() {
  local i=$1 dir=$STATE/node$1 group unshare_pid
  [ -x "$STATE/pause" ] || gcc -static -O1 -o "$STATE/pause" "$HERE/images/pause.c"
  cat > "$dir/init.sh" <<I
set -e
mount --make-rprivate /
mount --make-rshared /
hostname node$i
mount -t sysfs sysfs /sys
if [ -e $(printf %q "$dir")/unified ]; then
  mount -t cgroup2 cgroup2 /sys/fs/cgroup
else
  mount -t tmpfs -o mode=755 cgroup /sys/fs/cgroup
  for controller in cpu cpuacct cpuset memory devices freezer blkio pids hugetlb; do
    grep -q "^\$controller	" /proc/cgroups || continue
    mkdir /sys/fs/cgroup/\$controller
    mount -t cgroup -o \$controller cgroup /sys/fs/cgroup/\$controller || rmdir /sys/fs/cgroup/\$controller
  done
  mkdir /sys/fs/cgroup/systemd
  mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd || rmdir /sys/fs/cgroup/systemd
fi
mount -t tmpfs -o mode=755,size=1g run /run
mkdir -p /run/lock /run/netns
for place in $NODE_PLACES; do mount --bind "$dir/\$place" "/\$place"; done
mount --bind "$dir/etc/resolv.conf" "\$(realpath -m /etc/resolv.conf)"
for file in kernel.panic kernel.panic_on_oops vm.overcommit_memory; do mount --bind "$dir/sys/\$file" "/proc/sys/\${file/.//}"; done
touch "$dir/ready"
exec "$STATE/pause"
I
  rm -f "$dir/ready" "$dir/pid" "$dir/unified"
  [ ! -e /sys/fs/cgroup/cgroup.controllers ] || touch "$dir/unified"
  (
    for group in $(node_cgroups "$i"); do
      if [ -d "$group/init" ] && [ -e "$group/cgroup.controllers" ]; then echo $BASHPID > "$group/init/cgroup.procs"; else echo $BASHPID > "$group/cgroup.procs"; fi
    done
    exec setsid nsenter --net="/run/netns/pintle-node$i" unshare --mount --uts --ipc --pid --cgroup --fork --kill-child --mount-proc bash "$dir/init.sh"
  ) > "$dir/log/init.log" 2>&1 < /dev/null 8>&- &
  unshare_pid=$!
  eventually 10 test -e "$dir/ready" || fail "node$i could not be set up: $(tail -n 1 "$dir/log/init.log")" "$dir/log/init.log"
  tr -d ' ' < "/proc/$unshare_pid/task/$unshare_pid/children" > "$dir/pid"
}

# in_node I COMMAND...: runs a command inside node I, in all of its namespaces and its cgroup root.
in_node() {
  local i=$1; shift
  nsenter -t "$(cat "$STATE/node$i/pid")" --mount --uts --ipc --net --pid --cgroup -- /bin/sh -c '
    for procs in /sys/fs/cgroup/*/cgroup.procs; do echo $$ > $procs; done 2>/dev/null
    exec "$@"' sh "$@"
}

in_node_background() {
  local i=$1 name=$2 pid; shift 2
  pid=$(in_node "$i" cat "/run/pintle-$name.pid" 2>/dev/null || true)
  if [ -n "$pid" ] && in_node "$i" test -e "/proc/$pid/exe"; then return 0; fi
  HERE=$HERE STATE=$STATE setsid bash -c 'i=$1 name=$2; shift 2; . "$HERE/lib/node.sh"; in_node "$i" sh -c '\''echo $$ > "/run/pintle-$0.pid"; exec "$@"'\'' "$name" "$@"' bash "$i" "$name" "$@" \
    >> "$STATE/node$i/log/$name.log" 2>&1 < /dev/null 8>&- &
}

start_node_agents() {
  local i=$1 dir=$STATE/node$1 cidr
  load_binaries
  in_node_background "$i" kubelet "$(binary kubelet)" --config=/etc/kubernetes/kubelet.yaml --kubeconfig=/etc/kubernetes/kubelet.conf --hostname-override="node$i" --node-ip="$NODE_NET.$((10 + i))"
  in_node_background "$i" kube-proxy "$(binary kube-proxy)" --config=/etc/kubernetes/kube-proxy.yaml
  eventually 60 node_range "$i" || fail "node$i does not register or gets no pod range: $(tail -n 1 "$dir/log/kubelet.log" | cut -c1-300)" "$dir/log/kubelet.log"
  cidr=$(kubectl_admin get node "node$i" -o 'jsonpath={.spec.podCIDR}')
  route_pods "$i" "$cidr"
  cat > "$dir/etc/cni/net.d/.pintle.conflist" <<C
{"cniVersion": "0.4.0", "name": "pintle", "plugins": [
  {"type": "ptp", "ipMasq": false, "mtu": 1400, "ipam": {"type": "host-local", "ranges": [[{"subnet": "$cidr"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}, "snat": true}]}
C
  mv "$dir/etc/cni/net.d/.pintle.conflist" "$dir/etc/cni/net.d/10-pintle.conflist"
}

node_range() { kubectl_admin get node "node$1" -o 'jsonpath={.spec.podCIDR}' | grep -q .; }

wait_for_nodes() {
  local pressure
  eventually 60 nodes_ready || fail "not every node becomes Ready: $(kubectl_admin get nodes --no-headers | awk '{ print $1, $2 }' | xargs)" "$STATE/node1/log/kubelet.log"
  # A node that is Ready and takes no pods.
  pressure=$(kubectl_admin get nodes -o 'jsonpath={range .items[*]}{.metadata.name}{range .status.conditions[?(@.status=="True")]} {.type}{end}{"\n"}{end}' | sed -n 's/ Ready$//; s/ Ready / /; / /p' | paste -sd, | sed 's/,/, /g')
  [ -z "$pressure" ] || remark "no pod goes to a node under pressure: $pressure"
}

nodes_ready() { kubectl_admin get nodes --no-headers | tee /dev/stderr | awk -v want="$NODES" '$2 == "Ready" { ready++ } END { exit ready < want }'; }

# end_node I: ends the holder and with it everything in the node, then removes its cgroups and files.
end_node() {
  local i=$1 dir=$STATE/node$1 pid group
  if node_runs "$i"; then
    pid=$(cat "$dir/pid")
    kill -9 "$pid"
    eventually 20 gone "$pid" || fail "the holder of node$i (process $pid) does not end"
  fi
  rm -f "$dir/pid"
  for group in $(node_cgroups "$i"); do
    eventually 5 remove_cgroup "$group" || fail "cgroup $group cannot be removed"
  done
  eventually 10 rm -rf "$dir" || fail "$dir cannot be removed"
}

gone() { [ -z "$(readlink "/proc/$1/exe" 2>/dev/null)" ]; }
remove_cgroup() { [ ! -d "$1" ] || find "$1" -depth -type d -exec rmdir {} +; }
