#!/usr/bin/env bash
# The demo: a real workflow through the real system. A user signs up; the workflow sends a mail
# through a real HTTP call, sleeps, and goes on. While it sleeps the server is killed with SIGKILL
# and started again. Everything lives in a temporary directory and on loopback ports.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

target=${CARGO_TARGET_DIR:-target}/debug
everstep=$target/everstep
work=$(mktemp -d)
pids=()
cleanup() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT

say() { printf '\n\033[1m» %s\033[0m\n' "$*"; }
[ -t 1 ] || say() { printf '\n» %s\n' "$*"; }

# Waits until the file has a first line and prints it.
first_line() {
  for _ in $(seq 200); do
    if [ -s "$1" ]; then head -n 1 "$1"; return; fi
    sleep 0.05
  done
  echo "nothing came up within 10 s; see $1" >&2
  return 1
}

start_server() { # $1: address
  : > "$work/server.out"
  "$everstep" server --json --listen "$1" --store "$work/data" > "$work/server.out" 2> "$work/server.log" &
  server=$!
  pids+=("$server")
  EVERSTEP_SERVER=$(first_line "$work/server.out" | sed 's/.*"listen": *"\([^"]*\)".*/\1/')
  export EVERSTEP_SERVER
}

say "a small mail server, so that the workflow has something real to call"
"$target/mail-server" > "$work/mail.out" &
pids+=("$!")
mail=$(first_line "$work/mail.out")
echo "listening on $mail"

say "everstep build examples/onboarding"
component=$("$everstep" build examples/onboarding)
echo "$component"

say "everstep server"
start_server 127.0.0.1:0
echo "listening on $EVERSTEP_SERVER, process $server"

say "everstep upload"
"$everstep" upload "$component"

say "everstep start user-onboarding (its day of sleep shortened to 5 s by its input)"
input="{\"user_id\":\"u-42\",\"email\":\"ada@example.com\",\"sleep_ms\":5000,\"mail_server\":\"$mail\"}"
run=$("$everstep" start user-onboarding --input "$input")
echo "$run"
"$everstep" runs wait "$run" --status sleeping

say "kill -9 $server: the server is gone in the middle of the sleep"
kill -KILL "$server"
wait "$server" 2>/dev/null || true

say "everstep server, again"
start_server "${EVERSTEP_SERVER#http://}"
echo "listening on $EVERSTEP_SERVER, process $server"

say "everstep runs wait"
"$everstep" runs wait "$run"

say "everstep runs show"
"$everstep" runs show "$run"

say "everstep runs logs"
"$everstep" runs logs "$run"

say "what the mail server was asked to send"
tail -n +2 "$work/mail.out"
