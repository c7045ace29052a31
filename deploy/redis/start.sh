#!/bin/sh
# Starts Redis with the one user that the cluster needs; the built-in user without a password is switched off.
# The list of commands is what the sources and scripts use; tests/deploy/test_redis_acl.py runs a cluster with it.
set -eu
umask 077
if [ -n "${REDIS_PASSWORD_FILE:-}" ]; then REDIS_PASSWORD="$(cat "$REDIS_PASSWORD_FILE")"; fi
# The file holds a hash: no character of the password can be taken for a rule.
password_sha256="$(printf %s "$REDIS_PASSWORD" | sha256sum | cut -d' ' -f1)"
{
    echo "user default off"
    # Keys and channels of the cluster only, no administration, nothing that looks at other people's keys but SCAN.
    echo "user ${REDIS_USER} on #${password_sha256} ~${KEY_PREFIX}* &${KEY_PREFIX}* -@all" \
        "+ping +auth +hello +select +client|setname +client|unblock +client|kill +client|id +time +info +role" \
        "+evalsha +script|load +scan" \
        "+get +set +del +unlink +exists +rename +renamenx +expire +pexpire +pttl" \
        "+hget +hmget +hgetall +hkeys +hlen +hset +hdel +hincrby +sadd +srem +smembers" \
        "+zadd +zrem +zrange +zscore" \
        "+xadd +xdel +xtrim +xack +xlen +xrange +xread +xreadgroup +xgroup +xpending +xinfo|stream +xinfo|groups" \
        "+publish +subscribe +unsubscribe +pubsub|numsub"
} >/tmp/users.acl
# noeviction: an evicted key is a forgotten call. everysec: at most a second of commits is lost with the power.
exec redis-server --port 6379 --dir /data --aclfile /tmp/users.acl --protected-mode no \
    --appendonly yes --appendfsync everysec --save "" \
    --maxmemory "${REDIS_MAXMEMORY}" --maxmemory-policy noeviction \
    --tcp-backlog 511 --client-output-buffer-limit pubsub 64mb 16mb 30
