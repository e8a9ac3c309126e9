"""Every limit and knob of a process, typed: its name, default, range and meaning.

Where the values come from is read elsewhere (`services.cli.sources`), by the commands that start a
process; whoever only needs `Limits` loads nothing more than this.
"""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=1)]
Room = Annotated[int, Field(ge=0)]  # 0: none at all
Seconds = Annotated[float, Field(gt=0)]
Level = Literal["debug", "info", "warning", "error"]


def cores() -> int:
    """cores"""
    return os.cpu_count() or 2


def cores_and_four() -> int:
    """cores + 4"""
    return cores() + 4


class Settings(BaseModel):
    """What all settings have in common: frozen, strict, every name known."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
    )

    def plain(self) -> dict[str, Any]:
        """Every setting by its name, as plain data; what may be written as JSON."""
        return self.model_dump(mode="json")


Named = Annotated[str, Field(min_length=1)]


class Limits(Settings):
    """What callers may ask at most; the defaults suit a service on one machine."""

    variables: Count = Field(10_000, description="variables of one query")
    terms: Count = Field(1_024, description="terms of one query")
    scope: Count = Field(256, description="variables or views of one term")
    sites: Count = Field(4_000_000, description="sites of all variables together")
    values: Count = Field(65_536, description="values of one finite variable")
    cells: Count = Field(
        512_000_000, description="rows * sites * values: what the domains take in memory"
    )
    input_numbers: Count = Field(
        64_000_000, description="rows * numbers of all inputs together: what is told, not asked"
    )
    file_bytes: Count = Field(
        256 << 20, description="bytes of one file that evidence names, unpacked"
    )
    rank: Count = Field(8, description="sizes of one shape")
    rows: Count = Field(100_000, description="rows of evidence of one query")
    particles: Count = Field(4_096, description="states that search side by side")
    alternatives: Room = Field(1_000, description="next best answers of one row")
    samples: Count = Field(100_000, description="draws of one row")
    sessions: Room = Field(64, description="sessions of one tenant, open at once")
    all_sessions: Room = Field(512, description="sessions of all tenants together")
    idle_seconds: Seconds = Field(
        300.0, le=1e9, description="seconds after which a session of which nothing is asked ends"
    )
    seconds: Seconds = Field(86_400.0, description="seconds of one budget")
    nesting: Count = Field(16, description="depth of lists in lists")
    nodes: Count = Field(8_000_000, description="entries of one document")
    name: Count = Field(1_000, description="characters of a name, a kind, a view")
    message_bytes: Count = Field(
        32 << 20, lt=1 << 31, description="bytes of one message, both ways, and of a query file"
    )
    chunk_bytes: Count = Field(1 << 20, description="bytes of one exchange with a module, in line")
    region_bytes: Room = Field(
        256 << 20, description="bytes of memory shared on one stream, where a host shares any"
    )
    regions_bytes: Room = Field(
        1 << 30, description="bytes of memory shared on all streams of a host"
    )
    bells: Room = Field(
        64, description="streams of a host that are answered through pipes too, each by a thread"
    )
    tensors: Count = Field(1_024, description="tensors in one message")
    details_bytes: Count = Field(
        4_096, description="bytes of an error; gRPC drops what exceeds 8 KiB of metadata"
    )
    mistakes: Count = Field(100, description="mistakes told at once")
    page: Count = Field(1_000, description="entries of one page of a list")

    def told(self, name: str) -> str:
        """What is told of what is over a limit: how much may be, and what the limit is called."""
        return f"the limit is {getattr(self, name)} (limits.{name})"


DEFAULT = Limits()


class Policy(Settings):
    """How many solves run, how many may wait, and how long one may take."""

    workers: Count = Field(default_factory=cores, description="solves that run at once")
    queue: Room = Field(64, description="calls that may wait; one more is refused at once")
    seconds: Seconds = Field(3_600.0, description="seconds of a call that sets no deadline")
    interval: Seconds = Field(
        0.1,
        description="least seconds between two looks at a search, unless the caller says",
    )


POLICY = Policy()


class RemotePolicy(Settings):
    """How patient a caller of hosts is, and how tensors go to them."""

    exchange_seconds: Seconds = Field(
        60.0, description="seconds for one answer of a host; longer, and it counts as lost"
    )
    connect_seconds: Seconds = Field(1.5, description="seconds that connecting to a host may take")
    return_seconds: Annotated[float, Field(ge=0)] = Field(
        1.0, description="seconds for which a call tries again when every replica is lost"
    )
    shared_memory: bool = Field(
        True, description="memory is shared with a host on this machine that offers it"
    )


PATIENT = RemotePolicy()


class InlinePolicy(Settings):
    """Which answers of a host are light enough to be made on its event loop, not in a thread."""

    seconds: Seconds = Field(0.5e-3, description="seconds of a light answer")
    message_bytes: Room = Field(64 << 10, description="bytes of a message that may be light")
    steady: Count = Field(
        8, description="light answers in a row after which the next is made on the loop, at first"
    )
    most: Count = Field(
        64, description="the same at most, after answers that turned out not to be light"
    )


INLINE = InlinePolicy()


class ProcessSettings(Settings):
    """What any process that listens is started with."""

    listen: str = Field("127.0.0.1:0", description="HOST:PORT; port 0 takes a free one")
    reflection: bool = Field(False, description="gRPC tools may list the services")
    insecure_listen: bool = Field(False, description="an address open to other machines is allowed")
    files: str | None = Field(
        None, description="the folder of arrays that evidence names; without it, none may be named"
    )
    weights: str | None = Field(
        None, description="the folder of weights that callers name; without it `files`, else `.`"
    )
    log_level: Level = Field("info", description="what the log tells at least")
    limits: Limits = DEFAULT

    @property
    def weights_folder(self) -> Path:
        """The folder of files that parameters name."""
        return Path(self.weights or self.files or ".").resolve()


class ServerSettings(ProcessSettings):
    """What `basin serve` is started with."""

    listen: str = Field("127.0.0.1:7777", description="HOST:PORT; port 0 takes a free one")
    modules: list[str] | None = Field(None, description="groups of kinds to offer; without it, all")
    remote: dict[Named, Annotated[list[Named], Field(min_length=1)]] = Field(
        {}, description="kinds that other processes host: the addresses of the replicas of each"
    )
    policy: Policy = POLICY
    remote_policy: RemotePolicy = PATIENT


class HostSettings(ProcessSettings):
    """What `basin host` is started with."""

    shared_memory: bool = Field(
        False, description="memory is shared with reasoners on this machine: no copying"
    )
    workers: Count = Field(
        default_factory=cores_and_four,
        description="threads in which terms compute; many, for a term may wait, not compute",
    )
    inline_policy: InlinePolicy = INLINE
