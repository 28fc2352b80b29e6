# Settings: the options of deploy/up, and the addresses everything else uses.

NODES=2 DEMO=no PROFILE=release STATE=${PINTLE_STATE:-/var/lib/pintle} BINARIES= OFFLINE=auto IMAGES=()
ETCD= KUBE_APISERVER= KUBE_CONTROLLER_MANAGER= KUBE_SCHEDULER= KUBELET= KUBE_PROXY= CONTAINERD=

BRIDGE=pintle0
NODE_NET=172.31.70          # the bridge is .1, node N is .(10+N)
POD_CIDR=10.244.0.0/16      # node N gets what the controller manager gives it
SERVICE_CIDR=10.96.0.0/16
DNS_ADDRESS=10.96.0.10
API_PORT=6443

usage() {
  cat <<'U'
deploy/up brings up a cluster of Pintle's five daemons on this machine: etcd, the control plane, nodes in namespaces of their own, DNS.

  --nodes N              how many nodes (default 2)
  --demo                 run the demo afterwards (deploy/demo)
  --bin NAME=PATH        run another binary in that daemon's place, with the same flags. NAME is one of etcd, kube-apiserver,
                         kube-controller-manager, kube-scheduler, kubelet, kube-proxy, containerd. May be repeated.
  --bin-dir DIR          take our daemons from DIR instead of building them
  --image NAME=PATH      make an image pintle.local/NAME:1 of that program and bring it to the nodes. May be repeated.
  --profile NAME         cargo profile to build (default release)
  --state DIR            where certificates, logs and etcd's data go (default /var/lib/pintle)
  --help                 this text

deploy/status tells what runs, deploy/down ends it and leaves nothing behind.
U
}

parse_arguments() {
  local value
  while [ $# -gt 0 ]; do
    case $1 in
      --help|-h) usage; exit 0 ;;
      --demo) DEMO=yes; shift; continue ;;
      --nodes|--bin|--bin-dir|--image|--profile|--state) [ $# -ge 2 ] || die "$1 needs a value" "deploy/up --help lists the options"; value=$2; set -- "$1=$value" "${@:3}" ;;
    esac
    value=${1#*=}
    case $1 in
      --nodes=*) [[ $value =~ ^[1-9][0-9]?$ ]] || die "--nodes=$value: not a number from 1 to 99"; NODES=$value ;;
      --bin=*) choose_binary "$value" ;;
      --bin-dir=*) [ -d "$value" ] || die "--bin-dir=$value: no such folder"; BINARIES=$(realpath "$value") ;;
      --image=*) choose_image "$value" ;;
      --profile=*) PROFILE=$value ;;
      --state=*) STATE=$(realpath -m "$value") ;;
      *) die "unknown option $1" "deploy/up --help lists the options" ;;
    esac
    shift
  done
  mkdir -p "$(dirname "$STATE")"
}

choose_binary() {
  local name=${1%%=*} path=${1#*=}
  [ "$name" != "$1" ] || die "--bin $1: not NAME=PATH"
  path=$(command -v "$path" || true)
  [ -x "$path" ] || die "--bin $1: no such program"
  path=$(realpath "$path")
  case $name in
    etcd) ETCD=$path ;;
    kube-apiserver) KUBE_APISERVER=$path ;;
    kube-controller-manager) KUBE_CONTROLLER_MANAGER=$path ;;
    kube-scheduler) KUBE_SCHEDULER=$path ;;
    kubelet) KUBELET=$path ;;
    kube-proxy) KUBE_PROXY=$path ;;
    containerd) CONTAINERD=$path ;;
    *) die "--bin $1: no daemon is called $name" "deploy/up --help lists the names" ;;
  esac
}

choose_image() {
  [[ $1 =~ ^[a-z0-9][a-z0-9-]*= ]] || die "--image $1: not NAME=PATH, NAME being lower case letters, digits and dashes"
  [ -x "${1#*=}" ] || die "--image $1: no such program"
  IMAGES+=("${1%%=*}=$(realpath "${1#*=}")")
}

need_root() { [ "$(id -u)" = 0 ] || die "deploy needs root: it makes namespaces, cgroups and network rules" "run it with sudo"; }

# What deploy/down, deploy/status and deploy/demo need to know of this run.
save_settings() {
  printf 'NODES=%q\n' "$NODES" > "$STATE/settings"
}

load_settings() {
  [ -f "$STATE/settings" ] || die "no cluster in $STATE" "deploy/up makes one; --state names another place"
  . "$STATE/settings"
}

# The programs of this run, chosen ones before built ones.
etcd_path() { echo "${ETCD:-etcd}"; }
binary() {
  local variable
  variable=$(printf '%s' "$1" | tr 'a-z-' 'A-Z_')
  echo "${!variable:-$BINARIES/$1}"
}

# kubectl from the PATH where it is 1.30 or newer; else whatever there is.
kubectl_path() { echo "${KUBECTL:-$(command -v kubectl || echo kubectl)}"; }
kubectl_minor() { "$(kubectl_path)" version --client -o json 2>/dev/null | awk -F'"' '/"minor"/ { gsub(/[^0-9]/, "", $4); print $4; exit }'; }
kubectl_skew_note() {
  local minor
  minor=$(kubectl_minor)
  [ "${minor:-0}" -ge 30 ] || printf '\n  kubectl here is 1.%s, the cluster 1.36: newer than one minor apart is outside what kubectl supports, though what the demo uses works.\n' "${minor:-?}"
}
kubectl_admin() { "$(kubectl_path)" --kubeconfig "$STATE/admin.conf" "$@"; }
