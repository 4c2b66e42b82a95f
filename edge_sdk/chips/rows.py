"""Results as they come: a file of JSON lines that a stopped experiment goes on from."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edge_sdk.chips.results import Row
from edge_sdk.errors import DataError, UsageError
from edge_sdk.strict import from_plain, to_plain


class RowsFile:
    """Appends rows, each on the disk before the next. experiment: what the rows belong to."""

    def __init__(self, path: Path | None, experiment: dict[str, Any]) -> None:
        """Raises UsageError for a file of another experiment, DataError for a damaged one."""
        self._path = path
        self.rows: list[Row] = []
        if path is None:
            return
        header = json.dumps(experiment, sort_keys=True)
        if not path.exists():
            self._append(header)
            return
        # A line without its end is one that a crash cut off.
        lines = path.read_text(encoding="utf-8").split("\n")[:-1]
        if not lines or lines[0] != header:
            raise UsageError(
                f"--rows {path} is of another experiment (model, profile, images or layers differ) "
                "or none: name another file, or delete it"
            )
        for number, line in enumerate(lines[1:], start=2):
            try:
                data = json.loads(line)
            except ValueError as e:
                raise DataError(f"{path} line {number} is damaged: {e}") from e
            self.rows.append(from_plain(Row, data, f"{path} line {number}", DataError))
        whole = "".join(line + "\n" for line in lines)
        if whole != path.read_text(encoding="utf-8"):
            path.write_text(whole, encoding="utf-8")

    def add(self, row: Row) -> None:
        self.rows.append(row)
        if self._path is not None:
            self._append(json.dumps(to_plain(row)))

    def _append(self, line: str) -> None:
        assert self._path is not None
        with self._path.open("a", encoding="utf-8") as f:
            f.write(line + "\n")
            f.flush()
            os.fsync(f.fileno())


def missing(rows: Sequence[Row], jobs: Sequence[Any]) -> list[Any]:
    """The (setting, seed) pairs of `jobs` that no row is of."""
    done = {(r.setting, r.seed) for r in rows}
    return [job for job in jobs if job not in done]
