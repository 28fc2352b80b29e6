# Steps: one line each, with a tick and its seconds; a failed step says the cause and the log to read.

STARTED=$(date +%s.%N)

seconds_since() { awk -v a="$1" -v b="$(date +%s.%N)" 'BEGIN { printf "%.1f", b - a }'; }

# die WHAT TO_DO: ends the command with what failed and what to do about it.
die() {
  printf '✗ %s\n' "$1" >&2
  [ $# -lt 2 ] || printf '  %s\n' "$2" >&2
  exit 1
}

# fail CAUSE [LOG]: called inside a step; the step's line then names the cause and the log.
fail() {
  printf '%s' "$1" > "$STATE/failed-cause"
  printf '%s' "${2:-}" > "$STATE/failed-log"
  exit 1
}

# step TITLE FUNCTION [ARGUMENTS]: runs the function, its output going to a log of its own.
# A function may leave a remark for its line in $STATE/remark.
step() {
  local title=$1; shift
  local begun log
  begun=$(date +%s.%N)
  log="$STATE/log/step-$(printf '%s' "$title" | tr -c 'a-zA-Z0-9\n' '-').log"
  rm -f "$STATE/failed-cause" "$STATE/failed-log" "$STATE/remark"
  # The subshell is not part of a condition, so that `set -e` holds inside the function.
  set +e
  ( set -euo pipefail; "$@" ) > "$log" 2>&1 < /dev/null
  local status=$?
  set -e
  if [ "$status" = 0 ]; then
    local remark=
    [ ! -s "$STATE/remark" ] || remark="  ($(cat "$STATE/remark"))"
    printf '✓ %-32s %6s s%s\n' "$title" "$(seconds_since "$begun")" "$remark"
    return
  fi
  printf '✗ %-32s %6s s\n' "$title" "$(seconds_since "$begun")"
  local cause="the step ended with status $status" read="$log"
  [ ! -s "$STATE/failed-cause" ] || cause=$(cat "$STATE/failed-cause")
  [ ! -s "$STATE/failed-log" ] || read=$(cat "$STATE/failed-log")
  printf '  cause: %s\n  log:   %s\n' "$cause" "$read" >&2
  [ ! -s "$read" ] || { echo "  its last lines:"; tail -n 5 "$read" | sed 's/^/    /'; } >&2
  exit 1
}

remark() { printf '%s' "$1" > "$STATE/remark"; }

total() { printf '  %-32s %6s s\n' "in all" "$(seconds_since "$STARTED")"; }

# eventually SECONDS COMMAND...: repeats the command until it succeeds. The last output is printed on failure.
# A command that returns 3 says that waiting is in vain.
eventually() {
  local limit=$1 end output status; shift
  end=$(($(date +%s) + limit))
  while true; do
    status=0
    output=$("$@" 2>&1) || status=$?
    [ "$status" != 0 ] || return 0
    if [ "$status" = 3 ] || [ "$(date +%s)" -ge "$end" ]; then printf '%s\n' "$output"; return 1; fi
    sleep 0.05
  done
}

# start NAME PROGRAM ARGUMENTS: starts a process of the control plane unless it runs already; its output goes to log/NAME.log.
start() {
  local name=$1; shift
  ! running "$name" || return 0
  setsid "$@" > "$STATE/log/$name.log" 2>&1 < /dev/null 8>&- &
  echo $! > "$STATE/$name.pid"
}

# running NAME: does the process that was started under that name still run?
running() {
  local pid
  [ -s "$STATE/$1.pid" ] || return 1
  pid=$(cat "$STATE/$1.pid")
  [ -n "$(readlink "/proc/$pid/exe" 2>/dev/null)" ]
}

# last_words NAME: the last error line of a daemon's log, for a cause.
last_words() { { grep -aE '^(E|F)[0-9]{4}|[Ee]rror' "$STATE/log/$1.log" || tail -n 1 "$STATE/log/$1.log"; } 2>/dev/null | tail -n 1 | cut -c1-300; }
