#!/bin/sh
# Replaces every container of a service without losing a call: deploy/docker/roll.sh gateway|worker
#
# New containers come first. When they take calls, all old ones are told to drain at the same time: then no call can
# move to a container that has to go too, so each call moves once at most.
# COMPOSE is the command: "docker compose" (the default) or "docker-compose".
set -eu

service="$1"
compose="${COMPOSE:-docker compose}"
limit_s=120

# The new gateways must be up in haproxy, not only in their own opinion.
count_up_in_haproxy() {
    $compose exec -T cluster python -c '
import re, urllib.request
text = urllib.request.urlopen("http://haproxy:8404/metrics", timeout=5).read().decode()
print(len(re.findall(r"^haproxy_server_status\{proxy=\"gateways\".*state=\"UP\"\} 1$", text, re.M)))'
}

count_healthy() {
    # shellcheck disable=SC2046  # ids have no spaces
    docker inspect --format '{{.State.Health.Status}}' $($compose ps -q "$service") | grep -c '^healthy$' || true
}

has_come_up() {
    [ "$(count_healthy)" -ge "$now" ] || return 1
    [ "$service" != gateway ] || [ "$(count_up_in_haproxy)" -ge "$now" ]
}

old="$($compose ps -q "$service")"
# shellcheck disable=SC2086
set -- $old
wanted=$((2 * $#))
now=$#
echo "$service: $# containers; starting $# new ones"
# One after the other: a start costs a second of a core, and calls go on meanwhile.
while [ "$now" -lt "$wanted" ]; do
    now=$((now + 1))
    $compose up -d --no-deps --no-recreate --scale "$service=$now" "$service"
    until has_come_up; do
        limit_s=$((limit_s - 1))
        [ "$limit_s" -gt 0 ] || { echo "the new containers are not ready; the old ones stay" >&2; exit 1; }
        sleep 1
    done
done
echo "$service: the old ones drain"
docker stop "$@" >/dev/null
docker rm "$@" >/dev/null
echo "$service: done"
