"""Loopback ports: is one free, and which one to take."""

import secrets
import socket

from foodstream._stack.errors import USAGE, StackError

LOOPBACK = "127.0.0.1"

# Below the range from which kernels take the ports of outgoing connections (32768 on Linux, 49152 on macOS): a
# client that polls a closed port inside that range can be handed the very same port and connect to itself, and a
# port found free a moment ago can be gone.
_SPARE_PORTS = range(20_000, 30_000)
_ATTEMPTS = 200


def is_free(port: int) -> bool:
    """True if a server could listen on this loopback port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As the servers do: a port that only lingers in TIME_WAIT is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def spare(avoid: set[int]) -> int:
    """A free port that nobody asked for by number."""
    for _ in range(_ATTEMPTS):
        # Whoever seeds `random` alike in several processes would have them choose alike.
        port = secrets.choice(_SPARE_PORTS)
        if port not in avoid and is_free(port):
            return port
    raise StackError(f"no free port between {_SPARE_PORTS.start} and {_SPARE_PORTS.stop - 1}")


def choose(what: str, option: str, wanted: int | None, preferred: int, avoid: set[int]) -> int:
    """The port for ``what``: ``wanted`` or an error, else ``preferred`` if free, else a spare one."""
    if wanted is None:
        return preferred if preferred not in avoid and is_free(preferred) else spare(avoid)
    if not 1 <= wanted <= 65_535:
        raise StackError(f"{option} {wanted}: a port is a number from 1 to 65535", USAGE)
    if wanted in avoid or not is_free(wanted):
        raise StackError(
            f"port {wanted} for {what} is taken by another process; name another with {option}, "
            "or leave the option out and a free one is chosen"
        )
    return wanted
