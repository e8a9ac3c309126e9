"""Limits on everything a caller controls; over any of them a request is refused, by name."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """All of them are settings; the defaults suit a service on one machine."""

    variables: int = 10_000
    terms: int = 1_024
    scope: int = 256  # variables or views of one term
    sites: int = 4_000_000  # of all variables together
    values: int = 65_536  # of one finite variable
    cells: int = 512_000_000  # rows * sites * values: what the domains take in memory
    rank: int = 8  # of a shape
    rows: int = 100_000
    particles: int = 4_096
    alternatives: int = 1_000
    samples: int = 100_000  # of one row
    sessions: int = 64  # open at once, of one tenant
    all_sessions: int = 512  # of all tenants together
    idle_seconds: float = 300.0  # after which a session of which nothing is asked ends
    seconds: float = 86_400.0
    nesting: int = 16  # depth of lists in lists
    nodes: int = 8_000_000  # entries of one document
    name: int = 1_000  # characters of a name, a kind, a view
    message_bytes: int = 32 << 20  # of one message, both ways, and of a query file
    chunk_bytes: int = 1 << 20  # of one exchange with a module, in line
    region_bytes: int = 256 << 20  # of memory shared on one stream, where a host shares any
    regions_bytes: int = 1 << 30  # of all streams of a host
    bells: int = 64  # streams of a host that are answered through pipes too, each by a thread
    tensors: int = 1_024  # in one message
    details_bytes: int = 4_096  # of an error; gRPC drops what exceeds 8 KiB of metadata
    mistakes: int = 100  # told at once


DEFAULT = Limits()
