# The images the cluster cannot do without (pause, cluster DNS) and the demo's, made from files of this machine: no registry is needed.

PAUSE_IMAGE=pintle.local/pause:1

build_images() {
  local program programs=()
  load_binaries
  for program in "${IMAGES[@]}"; do programs+=(--program "$program"); done
  [ -x "$STATE/pause" ] || gcc -static -O1 -o "$STATE/pause" "$HERE/images/pause.c"
  "$BINARIES/image-builder" --pause "$STATE/pause" --busybox "$(command -v busybox)" --curl "$(command -v curl)" --cluster-dns "$BINARIES/cluster-dns" "${programs[@]}" --output "$STATE/images.tar.new" \
    || fail "the images could not be built"
  mv "$STATE/images.tar.new" "$STATE/images.tar"
}

import_images() {
  local i failed= pids=
  for i in $(seq "$NODES"); do
    in_node "$i" ctr -n k8s.io images import "$STATE/images.tar" > "$STATE/node$i/log/import.log" 2>&1 & pids="$pids $i:$!"
  done
  for i in $pids; do wait "${i#*:}" || failed="$failed node${i%%:*}"; done
  [ -z "$failed" ] || fail "import failed on$failed"
}
