#!/usr/bin/env bash
# Makes sure that dockerd, docker-compose, iptables and mmdebstrap can be run, from Debian's packages.
# No service is started: tests start an engine of their own as a child, and end it.
set -euo pipefail

GUARD=/usr/sbin/policy-rc.d

has_all() { command -v dockerd docker-compose iptables mmdebstrap >/dev/null; }

remove_guard() { rm -f "$GUARD"; }

has_all && exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "no docker engine, and no right to install Debian's docker.io" >&2
    exit 1
fi
# invoke-rc.d asks policy-rc.d before it starts a service; 101 means "not allowed" (Debian policy-rc.d specification).
if [ ! -e "$GUARD" ]; then
    trap remove_guard EXIT
    printf '#!/bin/sh\nexit 101\n' >"$GUARD"
    chmod +x "$GUARD"
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends docker.io docker-compose iptables mmdebstrap </dev/null >/dev/null
has_all
