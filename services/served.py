"""`basin serve` and `basin host`: flags and the settings file, checked, then the service itself."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from engine.errors import BadQuery, BasinError, Mistake
from services.ask import FAILED, REFUSED, tell
from services.document import parse_document
from services.formats.files import read_text
from services.mistakes import told


class Settings(BaseModel):
    """What a reasoner's service is started with; a settings file has the same fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    listen: str = "127.0.0.1:7777"
    modules: list[str] | None = None  # groups of kinds; None: all
    remote: dict[str, list[str]] = {}  # addresses of the replicas of each hosted kind
    reflection: bool = False
    insecure_listen: bool = False
    shared_memory: bool = True  # used where a host on this machine offers it
    weights: str = "."  # the folder of weights that callers may name


def serve(
    listen: str,
    modules: str | None,
    remote: Sequence[str],
    config: Path | None,
    reflection: bool,
    insecure_listen: bool,
    shared_memory: bool = True,
    weights: str | None = None,
) -> int:
    """Serve a reasoner until SIGTERM; the exit code. Flags count more than the settings file."""
    try:
        flags: dict[str, Any] = {"remote": _remotes(remote)} if remote else {}
        if modules is not None:
            flags["modules"] = [name.strip() for name in modules.split(",") if name.strip()]
        flags |= {"listen": listen} if listen != Settings().listen or config is None else {}
        flags |= {"reflection": True} if reflection else {}
        flags |= {"insecure_listen": True} if insecure_listen else {}
        flags |= {} if shared_memory else {"shared_memory": False}
        flags |= {} if weights is None else {"weights": weights}
        settings = _settings(config, flags)
    except BadQuery as error:
        tell("" if config is None else str(config), error)
        return REFUSED
    return _run(settings)


def _run(settings: Settings) -> int:
    from services.server import run  # gRPC, so not where a command line is only read

    try:
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
) -> int:
    """Host kinds until SIGTERM; the exit code."""
    from services.host import run

    try:
        return run(kinds, listen, reflection, insecure_listen, shared_memory, _folder(weights))
    except BadQuery as error:
        tell("", error)
        return REFUSED
    except BasinError as error:
        tell("", error)
        return FAILED


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
