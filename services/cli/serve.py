"""`basin serve` and `basin host`: flags and the settings file, checked, then the service itself."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from engine.errors import BadQuery, BasinError, Mistake, known
from services.cli.console import FAILED, REFUSED, tell
from services.formats.files import read_text
from services.query.document import parse_document
from services.query.mistakes import told

LEVEL: Final = "info"
LEVELS = ("debug", "info", "warning", "error")
LINE = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class Settings(BaseModel):
    """What a reasoner's service is started with; a settings file has the same fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    listen: str = "127.0.0.1:7777"
    modules: list[str] | None = None  # groups of kinds; None: all
    remote: dict[str, list[str]] = {}  # addresses of the replicas of each hosted kind
    reflection: bool = False
    insecure_listen: bool = False
    shared_memory: bool = True  # used where a host on this machine offers it
    weights: str = "."  # the folder of files, such as weights, that callers may name
    log_level: Literal["debug", "info", "warning", "error"] = LEVEL


def serve(
    listen: str | None = None,
    modules: str | None = None,
    remote: Sequence[str] = (),
    config: Path | None = None,
    reflection: bool | None = None,
    insecure_listen: bool | None = None,
    shared_memory: bool | None = None,
    weights: str | None = None,
    log_level: str | None = None,
) -> int:
    """Serve a reasoner until SIGTERM; the exit code. Flags that are given, whatever they say, count
    more than the settings file; None: not given."""
    try:
        given: dict[str, Any] = {
            "listen": listen,
            "modules": None if modules is None else _listed(modules),
            "remote": _remotes(remote) or None,
            "reflection": reflection,
            "insecure_listen": insecure_listen,
            "shared_memory": shared_memory,
            "weights": weights,
            "log_level": log_level,
        }
        settings = _settings(config, {n: value for n, value in given.items() if value is not None})
    except BadQuery as error:
        tell("" if config is None else str(config), error)
        return REFUSED
    return _run(settings)


def _listed(names: str) -> list[str]:
    return [name.strip() for name in names.split(",") if name.strip()]


def _run(settings: Settings) -> int:
    from services.server.app import run  # gRPC, so not where a command line is only read

    try:
        tell_log(settings.log_level)
        return run(
            settings.listen,
            modules=settings.modules,
            remotes=settings.remote,
            reflection=settings.reflection,
            insecure_listen=settings.insecure_listen,
            shared_memory=settings.shared_memory,
            weights=_folder(settings.weights),
        )
    except BadQuery as error:
        tell("", error)
        return REFUSED
    except BasinError as error:
        tell("", error)
        return FAILED


def host(
    kinds: Sequence[str],
    listen: str,
    reflection: bool,
    insecure_listen: bool,
    shared_memory: bool = False,
    weights: str = ".",
    log_level: str = LEVEL,
) -> int:
    """Host kinds until SIGTERM; the exit code."""
    from services.host.app import run

    try:
        if log_level not in LEVELS:
            raise BadQuery(Mistake("log_level", f"{log_level!r} is none", known(log_level, LEVELS)))
        tell_log(log_level)
        return run(kinds, listen, reflection, insecure_listen, shared_memory, _folder(weights))
    except BadQuery as error:
        tell("", error)
        return REFUSED
    except BasinError as error:
        tell("", error)
        return FAILED


def tell_log(level: str) -> None:
    """From now on the log goes to stderr, each line with its time, level and name. Other libraries
    tell nothing below `info`."""
    number = logging.getLevelNamesMapping()[level.upper()]
    logging.basicConfig(level=max(number, logging.INFO), format=LINE)
    for ours in ("engine", "modules", "services"):
        logging.getLogger(ours).setLevel(number)


def _folder(name: str) -> Path:
    """A folder that is there. Raises BadQuery."""
    folder = Path(name).resolve()
    if not folder.is_dir():
        raise BadQuery(Mistake("weights", f"{name} is no folder", "name one that is there"))
    return folder


def _remotes(pairs: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    wrong = []
    for pair in pairs:
        kind, equals, address = pair.partition("=")
        if not (kind and equals and ":" in address):
            wrong.append(
                Mistake(
                    "--remote",
                    f"{pair!r} is no kind with an address",
                    "write KIND=HOST:PORT, such as my_lab.my_term=127.0.0.1:7801",
                )
            )
        found.setdefault(kind, []).append(address)
    if wrong:
        raise BadQuery(*wrong)
    return found


def _settings(config: Path | None, flags: dict[str, Any]) -> Settings:
    data: Any = {}
    if config is not None:
        data = parse_document(read_text(str(config)), config.name)
        if not isinstance(data, dict):
            raise BadQuery(Mistake("line 1", "is no mapping", "write listen: HOST:PORT and so on"))
    try:
        return Settings.model_validate({**data, **flags})
    except ValidationError as error:
        found, large = told(error, lambda _: list(Settings.model_fields))
        raise BadQuery(*found, *large) from None
