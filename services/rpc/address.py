"""Addresses: which may be listened at without TLS."""

import ipaddress

from engine.errors import BadQuery, Mistake, shown


def bound(address: str, port: int) -> str:
    """The address with the port that was taken."""
    return address if address.startswith("unix:") else f"{address.rpartition(':')[0]}:{port}"


def check_target(address: str) -> None:
    """Raise BadQuery unless it is the HOST:PORT or unix:PATH of a service."""
    if not isinstance(address, str):
        raise BadQuery(Mistake("address", f"{shown(address)} is no text", "write HOST:PORT"))
    host, colon, port = address.rpartition(":")
    number = port.isascii() and port.isdigit() and 0 < int(port) < 2**16
    if not address.startswith("unix:") and not (host and colon and number):
        raise BadQuery(Mistake("address", f"{address!r} is no address", "write HOST:PORT"))


def check_address(address: str, insecure: bool = False) -> None:
    """Raise BadQuery unless it is HOST:PORT or unix:PATH, and loopback or insecure by name."""
    if address.startswith("unix:"):
        return
    host, colon, port = address.rpartition(":")
    if not (host and colon and port.isascii() and port.isdigit() and int(port) < 2**16):
        raise BadQuery(
            Mistake("listen", f"{address!r} is no address", "write HOST:PORT; port 0 is any")
        )
    if not insecure and not _is_loopback(host.strip("[]")):
        raise BadQuery(
            Mistake(
                "listen",
                f"{address!r} is open to other machines, and there is no TLS",
                "listen on 127.0.0.1, or say --insecure-listen",
            )
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
