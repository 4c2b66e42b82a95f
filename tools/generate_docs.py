"""Writes the pages made from the code: docs/profiles.md, docs/cim-profiles.md and docs/cli.md.

A test compares them with what this would write, so they cannot drift.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from edge_sdk.benchmark.profiles_page import profiles_page
from edge_sdk.cli import cli
from edge_sdk.report_cim import cim_profiles_page

DOCS = Path(__file__).parents[1] / "docs"


def cli_page() -> str:
    """Every command's help, as Markdown."""
    parts = ["# Command line\n\nMade by `make docs` from the program's own help.\n"]
    settings: dict[str, Any] = {
        "terminal_width": 96,
        "max_content_width": 96,
        **cli.context_settings,
    }
    root = click.Context(cli, info_name="edge-sdk", **settings)
    for name, command in [("", cli), *sorted(_commands(cli))]:
        context = click.Context(
            command,
            info_name=name or "edge-sdk",
            parent=root if name else None,
            **settings,
        )
        title = f"edge-sdk {name}".strip()
        parts.append(f"## {title}\n\n```\n{command.get_help(context)}\n```\n")
    return "\n".join(parts)


def _commands(group: click.Group, before: str = "") -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        yield before + name, command
        if isinstance(command, click.Group):
            yield from _commands(command, f"{before}{name} ")


def main() -> None:
    DOCS.mkdir(exist_ok=True)
    (DOCS / "profiles.md").write_text(profiles_page(), encoding="utf-8")
    (DOCS / "cim-profiles.md").write_text(cim_profiles_page(), encoding="utf-8")
    (DOCS / "cli.md").write_text(cli_page(), encoding="utf-8")


if __name__ == "__main__":
    main()
