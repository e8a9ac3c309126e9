"""Options of channels and servers: message sizes, keepalive."""

from typing import Any

from services.settings import Limits

PINGS = 10_000  # milliseconds between two looks whether the other end is there


def client_options(limits: Limits) -> list[tuple[str, Any]]:
    """Channel options of clients: a connection that is gone is noticed while a call waits."""
    return [
        *message_options(limits),
        ("grpc.keepalive_time_ms", PINGS),
        ("grpc.keepalive_timeout_ms", 5_000),
        ("grpc.enable_http_proxy", 0),
    ]


def message_options(limits: Limits) -> list[tuple[str, Any]]:
    """Channel options that servers and clients share."""
    return [
        ("grpc.max_receive_message_length", limits.message_bytes),
        ("grpc.max_send_message_length", limits.message_bytes),
    ]


def end_no_earlier(seconds: float) -> None:
    """Nothing runs that could end earlier."""
