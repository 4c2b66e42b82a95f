"""The command line documents itself, and the README names what there is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from edge_sdk.cli import cli

README = Path(__file__).parents[2] / "README.md"


def commands(group: click.Group = cli, before: str = "") -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        yield before + name, command
        if isinstance(command, click.Group):
            yield from commands(command, f"{before}{name} ")


EVERY = dict(commands())
OPTIONS = {
    f"{name} {option.opts[0]}": option
    for name, command in [("", cli), *EVERY.items()]
    for option in command.params
    if isinstance(option, click.Option)
}


@pytest.mark.parametrize("name", EVERY)
def test_every_command_says_what_it_does(name: str) -> None:
    text = EVERY[name].help or ""
    assert len(text.split()) >= 4
    short = EVERY[name].get_short_help_str(limit=80)
    assert short.endswith("."), short
    assert not short.endswith("..."), short


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_has_help(name: str) -> None:
    text = OPTIONS[name].help or ""
    assert len(text) > 3
    assert text.endswith((".", "]."))


@pytest.mark.parametrize("name", EVERY)
def test_every_argument_is_explained_in_its_command(name: str) -> None:
    for argument in EVERY[name].params:
        if isinstance(argument, click.Argument):
            assert (argument.name or "").upper() in (EVERY[name].help or "")


@pytest.mark.parametrize("name", EVERY)
def test_every_command_is_in_the_readme(name: str) -> None:
    assert f"edge-sdk {name}" in README.read_text(encoding="utf-8")


def test_the_command_line_page_has_not_drifted() -> None:
    import runpy

    root = README.parent
    made = runpy.run_path(str(root / "tools" / "generate_docs.py"))["cli_page"]()
    assert (root / "docs" / "cli.md").read_text(encoding="utf-8") == made, "run make docs"
