"""Asks a page of this container and exits with 0 if it answers 200: ``probe.py PORT PATH``.

Sockets only: importing an HTTP client would cost ten times the probe's 15 ms, at each probe of each container.
"""

import socket
import sys

TIMEOUT_S = 2.0


def main() -> int:
    """Return the exit code."""
    port, path = int(sys.argv[1]), sys.argv[2]
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S) as connection:
            connection.sendall(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
            status = connection.recv(64).split(b" ")[1:2]
    except OSError as error:
        sys.stderr.write(f"{path} on port {port}: {error}\n")
        return 1
    return 0 if status == [b"200"] else 1


if __name__ == "__main__":
    sys.exit(main())
