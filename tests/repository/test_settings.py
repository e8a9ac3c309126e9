"""docs/settings.md has every setting with its default and meaning, as the model has them."""

from collections.abc import Iterator

from pydantic.fields import FieldInfo

from services.cli.sources import fields_of
from services.settings import HostSettings, ServerSettings, Settings
from tests.support.paths import ROOT

PAGE = ROOT / "docs" / "settings.md"
NAMED = {"None": "null", "True": "true", "False": "false"}  # as YAML has them
HEAD = "| setting | default | meaning |\n|---|---|---|\n"


def default_of(field: FieldInfo) -> str:
    """What stands in the table: a number that the machine decides is named, not counted."""
    if field.default_factory is not None:
        return str(field.default_factory.__doc__)
    return f"`{NAMED.get(str(field.default), field.default)}`"


def rows_of(kind: type[Settings], groups: bool) -> Iterator[str]:
    """Of the single settings, or of those in groups."""
    for name, field in fields_of(kind).items():
        if ("." in name) == groups:
            yield f"| `{name}` | {default_of(field)} | {field.description} |\n"


def tables() -> list[str]:
    """The tables of the page, in order: the two commands, then the groups of either."""
    grouped = dict.fromkeys([*rows_of(ServerSettings, True), *rows_of(HostSettings, True)])
    alone = ["".join(rows_of(kind, False)) for kind in (ServerSettings, HostSettings)]
    return [HEAD + rows for rows in (*alone, "".join(grouped))]


def test_the_page_on_settings_has_them_all() -> None:
    page = PAGE.read_text()
    for table in tables():
        assert table in page, f"docs/settings.md lacks this table:\n{table}"
    assert page.count("\n| `") == sum(table.count("\n| `") for table in tables())


def test_every_setting_says_what_it_means() -> None:
    for kind in (ServerSettings, HostSettings):
        for name, field in fields_of(kind).items():
            assert field.description and "|" not in field.description, name
