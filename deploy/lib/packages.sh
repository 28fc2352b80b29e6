# What a bare Debian 12 lacks, and our own binaries.

install_packages() {
  local program package missing=
  while read -r program package; do
    command -v "$program" > /dev/null || [ -e "$program" ] || missing="$missing $package"
  done <<'P'
etcd etcd-server
etcdctl etcd-client
containerd containerd
runc runc
/usr/lib/cni/bridge containernetworking-plugins
nft nftables
ip iproute2
conntrack conntrack
openssl openssl
curl curl
gcc gcc
protoc protobuf-compiler
/usr/include/google/protobuf/struct.proto libprotobuf-dev
busybox busybox-static
nsenter util-linux
awk mawk
kubectl kubernetes-client
P
  [ -f /usr/include/stdio.h ] || missing="$missing libc6-dev"
  if [ -z "$missing" ]; then remark "all there"; return; fi
  command -v apt-get > /dev/null || fail "these packages are missing and there is no apt-get to install them:$missing"
  export DEBIAN_FRONTEND=noninteractive
  # shellcheck disable=SC2086 # the list is meant to split
  apt-get install -y --no-install-recommends $missing || { apt-get update && apt-get install -y --no-install-recommends $missing; } \
    || fail "apt-get could not install:$missing"
  remark "installed$missing"
}

build_binaries() {
  local root name
  root=$(realpath "$HERE/..")
  if [ -z "$BINARIES" ]; then
    command -v cargo > /dev/null || fail "cargo is not installed: a Rust toolchain (1.95 or newer) is needed to build, or --bin-dir with built binaries"
    (cd "$root" && cargo build --profile "$PROFILE" -p kube-apiserver -p kube-scheduler -p kube-controller-manager -p kubelet -p kube-proxy -p cluster-dns -p image-builder) \
      || fail "cargo build failed"
    BINARIES=$(cd "$root" && cargo metadata --format-version 1 --no-deps | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')/$([ "$PROFILE" = dev ] && echo debug || echo "$PROFILE")
  fi
  for name in kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy; do
    [ -x "$(binary $name)" ] || fail "$(binary $name): no such program"
  done
  for name in cluster-dns image-builder; do
    [ -x "$BINARIES/$name" ] || fail "$BINARIES/$name: no such program"
  done
  printf 'BINARIES=%q\n' "$BINARIES" >> "$STATE/settings"
}

# Steps run in a subshell: what build_binaries found out is read back from the settings.
load_binaries() { [ -n "$BINARIES" ] || . "$STATE/settings"; }
