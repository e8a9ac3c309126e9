"""What a process may be told: the limits of what callers may ask, and how hard it works."""

import os
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
    page: int = 1_000  # entries of one page of a list


DEFAULT = Limits()


@dataclass(frozen=True)
class Policy:
    """How many solves run, how many may wait, and how long one may take."""

    workers: int = os.cpu_count() or 2
    queue: int = 64
    seconds: float = 3600.0  # for a call that sets no deadline
    interval: float = 0.1  # least seconds between two looks at a search, unless the caller says


POLICY = Policy()


@dataclass(frozen=True)
class Dialing:
    """How patient a caller of hosts is."""

    exchange_seconds: float = 60.0  # for one answer of a host; longer, and it counts as lost
    connect_seconds: float = 1.5
    return_seconds: float = 1.0  # for which a call tries again when every replica is lost
    shared_memory: bool = True  # used where a host on this machine offers it
    limits: Limits = DEFAULT


PATIENT = Dialing()
