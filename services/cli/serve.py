"""`basin serve` and `basin host`: flags and other settings, checked, then the service itself."""

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from engine.errors import BadQuery, BasinError, Mistake, Mistakes
from services.cli.console import FAILED, REFUSED, tell
from services.cli.sources import Given, Source, settings_from, sources_of, spelled
from services.rpc.address import check_address
from services.settings import HostSettings, ProcessSettings, ServerSettings

LINE = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def serve(
    flags: Sequence[Given] = (),
    remote: Sequence[str] = (),
    pairs: Sequence[str] = (),
    config: Path | None = None,
) -> int:
    """Serve a reasoner until SIGTERM; the exit code.

    flags: their values, None where one is not given. remote: KIND=HOST:PORT each. pairs: NAME=VALUE
    each.
    """
    try:
        wrong: list[Mistake] = []
        flags = [*flags, Given("--remote", "remote", _remotes(remote, wrong) or None)]
        sources = sources_of(ServerSettings, flags, pairs, config)
        settings = settings_from(ServerSettings, sources, wrong)
        with _spelling(sources):
            return _serve(settings)
    except BasinError as error:
        return _refused(error)


def host(
    kinds: Sequence[str],
    flags: Sequence[Given] = (),
    pairs: Sequence[str] = (),
    config: Path | None = None,
) -> int:
    """Host kinds until SIGTERM; the exit code. flags, pairs: as of `serve`."""
    try:
        sources = sources_of(HostSettings, flags, pairs, config)
        settings = settings_from(HostSettings, sources)
        with _spelling(sources):
            return _host(kinds, settings)
    except BasinError as error:
        return _refused(error)


def _serve(settings: ServerSettings) -> int:
    # gRPC is loaded only here, so not where a command line is only read
    from services.server.app import check_settings, run

    _begin(settings, partial(check_settings, settings))
    return run(settings)


def _host(kinds: Sequence[str], settings: HostSettings) -> int:
    from services.host.app import run

    _begin(settings)
    return run(kinds, settings)


def _begin(settings: ProcessSettings, check: Callable[[], None] = lambda: None) -> None:
    """What comes before a service; check: what else may be wrong. Raises BadQuery with every
    mistake."""
    mistakes = Mistakes()
    for look in (
        partial(_check_folder, "files", settings.files),
        partial(_check_folder, "weights", settings.weights),
        partial(check_address, settings.listen, settings.insecure_listen),
        check,
    ):
        try:
            look()
        except BadQuery as error:
            mistakes.take(*error.mistakes)
    mistakes.check()
    tell_log(settings.log_level)


def _check_folder(name: str, folder: str | None) -> None:
    if folder is not None and not Path(folder).is_dir():
        raise BadQuery(Mistake(name, f"{folder} is no folder", "name one that is there"))


@contextlib.contextmanager
def _spelling(sources: Sequence[Source]) -> Iterator[None]:
    """Mistakes of settings are raised under the names that these were given by."""
    try:
        yield
    except BadQuery as error:
        raise spelled(error, sources) from None


def _refused(error: BasinError) -> int:
    tell("", error)
    return REFUSED if isinstance(error, BadQuery) else FAILED


def tell_log(level: str) -> None:
    """From now on the log goes to stderr, each line with its time, level and name. Other libraries
    tell nothing below `info`."""
    number = logging.getLevelNamesMapping()[level.upper()]
    logging.basicConfig(level=max(number, logging.INFO), format=LINE)
    for ours in ("engine", "modules", "services"):
        logging.getLogger(ours).setLevel(number)


def _remotes(pairs: Sequence[str], wrong: list[Mistake]) -> dict[str, list[str]]:
    """The addresses of each kind; what makes no sense goes to `wrong`."""
    found: dict[str, list[str]] = {}
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
        else:
            found.setdefault(kind, []).append(address)
    return found
