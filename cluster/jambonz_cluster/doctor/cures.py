"""What to do about a Redis that cannot be used, by its own words or those of the system. Pure."""

from typing import Final

_OF_SETTINGS: Final = "set JAMBONZ_CLUSTER_REDIS_URL to a Redis that runs, with its user and password, or see its log"

# docs/how-to/find-what-is-wrong.md has the same for a line in the log.
_CURES: Final = {
    "OOM": "raise its maxmemory",
    "MISCONF": "its disk is full, or cannot be written: its log names the cause",
    "READONLY": "it is a replica: name its primary, or the Sentinels",
    "NOREPLICAS": "bring its replicas back, or lower its min-replicas-to-write",
    "BUSY": "a script of somebody keeps it busy: end that (SCRIPT KILL), SLOWLOG GET names it afterwards",
    "LOADING": "wait: it reads its data after a start; its log says how far it is",
    "NOPERM": "give its user the rights of deploy/redis/start.sh",
    "NOAUTH": "the URL needs its user and password",
    "WRONGPASS": "the URL has a wrong user or password, or its user is switched off",
    "DENIED": "give it a password (requirepass, or a user), and the URL, too: without one it serves its own machine",
    "max number of clients reached": "raise its maxclients (and its limit of open files), or end who holds so many",
    "CERTIFICATE_VERIFY_FAILED": (
        "give its authority (?ssl_ca_certs=/path/to/ca.pem), and name it as its certificate does, which must not be old"
    ),
    "is no Redis Cluster": "name it by redis://, or the servers of a Redis Cluster",
    "is no Sentinel": "name the Sentinels, which listen on port 26379 mostly, or the Redis itself by redis://",
    "Connection reset by peer": (
        "a port that speaks TLS needs rediss://, one that asks for a certificate ?ssl_certfile= and ssl_keyfile="
    ),
    # Without a reason: cut in the TLS handshake, as Redis does with maxclients (networking.c, acceptCommonHandler).
    "Error connecting to": "it was cut in the TLS handshake: see its log, and whether its maxclients is reached",
}


def cure_of_redis(trouble: str) -> str:
    """Return what to do about a trouble with Redis: what it has refused with, or why it cannot be reached."""
    return next((cure for words, cure in _CURES.items() if words in trouble), _OF_SETTINGS)
