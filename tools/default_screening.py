"""Measures the embedded model's slide rules and the colours of its cells, for its records.

    python tools/default_screening.py ../shared/data/nih-malaria [--out FILE]

Converts the embedded model on the drawn cells that `default_artifacts` converts it on, then runs
what `edge-sdk screen rule` runs, for every scheme its own: on the validation patients of its
training (patients.json), the colours on training and validation patients. The test patients are
not looked at; benchmarks/slide_table.py judges by them.
"""

from __future__ import annotations

import argparse
import csv
import json
import platform
import tempfile
from pathlib import Path

from edge_sdk.artifact import read_artifact
from edge_sdk.convert.default import drawn_cells
from edge_sdk.convert.default_screening import FORMAT, Form, Measured, Record, form_of, record_file
from edge_sdk.convert.pipeline import ConvertRequest, convert
from edge_sdk.convert.schemes import SCHEMES
from edge_sdk.dataset import read_dataset
from edge_sdk.evaluate.slide_rule import make_rule
from edge_sdk.files import sha256, write_whole
from edge_sdk.strict import to_plain
from edge_sdk.zoo import default_model

POSITIVE = "Parasitized"


def split_file(data: Path, out: Path) -> Path:
    """The model's patients.json as the split.csv of these cells."""
    parts = json.loads(default_model().with_name("patients.json").read_text(encoding="utf-8"))
    part_of = {patient: part for part, patients in parts.items() for patient in patients}
    cells = read_dataset(data)
    with out.open("w", newline="", encoding="utf-8") as f:
        writer = csv.writer(f)
        writer.writerow(["file", "part"])
        writer.writerows([cells.name_of(i), part_of[i.group or ""]] for i in cells.items)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=record_file())
    args = parser.parse_args()
    measured: list[Measured] = []
    versions: dict[str, str] = {}
    stain = None
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        split = split_file(args.data, scratch / "split.csv")
        cells = drawn_cells(scratch)
        made = convert(ConvertRequest(None, tuple(SCHEMES), cells, scratch / "artifacts"))
        for artifact in made.artifacts:
            form: Form = form_of(artifact.manifest)
            rule, stain = make_rule(artifact.path, args.data, split, POSITIVE)
            measured.append(Measured(form, rule))
            versions = read_artifact(artifact.path).manifest.tools
            clear, hit = rule.clear, rule.infected
            print(
                f"{form.scheme}: from {rule.decision.threshold:.4f} on, {rule.flags} flags; clear "
                f"{clear.flagged}/{clear.counted}, infected {hit.flagged}/{hit.counted}",
                flush=True,
            )
    if stain is None:
        raise SystemExit(f"{args.data}: these cells are not cut out on black")
    record = Record(
        FORMAT,
        sha256(default_model()),
        "measured on real cells of patients that training never saw (rules), and of its training "
        "and validation patients (stain)",
        "patients.json",
        (f"python tools/default_screening.py ../shared/data/{args.data.resolve().name}",),
        {**versions, "python": platform.python_version()},
        stain,
        tuple(measured),
    )
    text = json.dumps(to_plain(record), indent=1, ensure_ascii=False) + "\n"
    write_whole(args.out, text.encode())


if __name__ == "__main__":
    main()
