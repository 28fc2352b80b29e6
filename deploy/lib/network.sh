# The cluster's network: one bridge on the host, one network namespace per node, routes between the pod ranges.

make_network() {
  local i
  if [ ! -f "$STATE/inotify.saved" ]; then cat /proc/sys/fs/inotify/max_user_instances > "$STATE/inotify.saved"; fi
  # Each kubelet and containerd watches many files; Debian's 128 instances are few for several nodes on one kernel.
  [ "$(cat /proc/sys/fs/inotify/max_user_instances)" -ge 8192 ] || echo 8192 > /proc/sys/fs/inotify/max_user_instances
  if [ ! -f "$STATE/forward.saved" ]; then cat /proc/sys/net/ipv4/ip_forward > "$STATE/forward.saved"; fi
  ip link show "$BRIDGE" > /dev/null 2>&1 || { ip link add "$BRIDGE" type bridge; ip addr add "$NODE_NET.1/24" dev "$BRIDGE"; ip link set "$BRIDGE" up; }
  for i in $(seq "$NODES"); do
    [ -e "/run/netns/pintle-node$i" ] || make_node_network "$i"
  done
  # Services are reached from the host through the first node's kube-proxy.
  ip route replace "$SERVICE_CIDR" via "$NODE_NET.11"
}

make_node_network() {
  local i=$1
  ip netns add "pintle-node$i"
  ip link add "pintle-v$i" type veth peer name eth0 netns "pintle-node$i"
  ip link set "pintle-v$i" master "$BRIDGE" up
  ip netns exec "pintle-node$i" bash -e <<N
ip link set lo up
ip addr add $NODE_NET.$((10 + i))/24 dev eth0
ip link set eth0 up
ip route add default via $NODE_NET.1
echo 1 > /proc/sys/net/ipv4/ip_forward
nft -f - <<T
table ip pintle-node {
  chain postrouting {
    type nat hook postrouting priority srcnat;
    ip saddr $POD_CIDR ip daddr != { $POD_CIDR, $SERVICE_CIDR, $NODE_NET.0/24 } masquerade
  }
}
T
N
}

# route_pods I CIDR: node I's pods are reached through node I, from the host and from every other node.
route_pods() {
  local i=$1 cidr=$2 other
  ip route replace "$cidr" via "$NODE_NET.$((10 + i))"
  for other in $(seq "$NODES"); do
    [ "$other" = "$i" ] || ip -n "pintle-node$other" route replace "$cidr" via "$NODE_NET.$((10 + i))"
  done
}

remove_network() {
  local namespace
  for namespace in $(ls /run/netns 2>/dev/null | grep -E '^pintle-node[0-9]+$' || true); do
    ip netns del "$namespace"
    ip link del "pintle-v${namespace#pintle-node}" 2>/dev/null || true
  done
  ip link del "$BRIDGE" 2>/dev/null || true
  [ ! -f "$STATE/inotify.saved" ] || cat "$STATE/inotify.saved" > /proc/sys/fs/inotify/max_user_instances
  [ ! -f "$STATE/forward.saved" ] || cat "$STATE/forward.saved" > /proc/sys/net/ipv4/ip_forward
}
