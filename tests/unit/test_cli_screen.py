"""`edge-sdk screen` end to end on drawn slides, with a backend that makes its answers up."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from screening_records import rule as made_up_rule
from screening_sessions import keep_rule, slide_model

from edge_sdk import cli
from edge_sdk.artifact import manifest_json, read_artifact
from edge_sdk.keys import new_key
from edge_sdk.screening.store import Store

pytest.importorskip("cv2")
LABEL = "not a medical device"


def invoke(sessions: Path, *args: object, ok: bool = True) -> Result:
    given = [str(a) for a in args]
    place = [] if given[0] == "key" else ["--sessions", str(sessions)]
    found = CliRunner().invoke(cli.cli, ["screen", *given, *place])
    assert (found.exit_code == 0) is ok, f"{found.output} {found.exception!r}"
    return found


@pytest.fixture
def model(models: Path, tmp_path: Path) -> Path:
    return slide_model(models, tmp_path / "model")


def new(root: Path, model: Path, *more: object) -> str:
    options = "fields=12", "blurred=0.0", "repeated=0.0", "cells=60", "size=640x480"
    given = [x for o in options for x in ("--camera-option", o)]
    keep_rule(root, model)
    made = invoke(
        root, "new", "--operator", "op-1", "--camera", "simulated", "--model", model,
        "--target", 60, *given, *more,
    )  # fmt: skip
    assert re.fullmatch(r"[2-9A-Z]{4}-[2-9A-Z]{4}", made.stdout.strip())
    return made.stdout.strip()


def test_a_whole_simulated_session(tmp_path: Path, model: Path) -> None:
    root, fake = tmp_path / "sessions", ("--backend", "fake")
    session = new(root, model)
    assert "new" in invoke(root, "status").stdout
    first = invoke(root, "capture", session, "--fields", 1, *fake).stdout
    assert LABEL in first
    assert "aimed for" in first
    done = invoke(root, "capture", session, *fake).stdout
    assert all(line.startswith("SIMULATED") for line in done.splitlines() if " field " in line)
    assert re.search(r"^(flagged|insufficient): .* red cells flagged", done, re.MULTILINE)
    assert "SIMULATED" in invoke(root, "review", session).stdout
    assert "the same to the last cell" in invoke(root, "replay", session, *fake).stdout
    assert "report.html" in invoke(root, "report", session).stdout
    assert "whole:" in invoke(root, "verify", session).stdout
    assert "differs" not in invoke(root, "replay", session, *fake).output
    out = tmp_path / "x.zip"
    assert str(out) in invoke(root, "export", session, "--out", out).stdout
    found = json.loads(invoke(root, "status", session, "--json").stdout)
    assert (found["state"], found["simulated"]) == ("reported", True)
    assert found["counted"] >= 60
    invoke(root, "purge", session, "--yes")
    assert "purged" in invoke(root, "status", session).stdout
    refused = invoke(root, "capture", session, *fake, ok=False)
    assert "state 'purged'" in str(refused.exception)


def test_a_changed_session_fails_verify_and_replay(tmp_path: Path, model: Path) -> None:
    root = tmp_path / "sessions"
    session = new(root, model)
    invoke(root, "capture", session, "--backend", "fake")
    image = root / session / "images" / "000001.png"
    image.write_bytes(image.read_bytes() + b"x")
    assert "was changed" in invoke(root, "verify", session, ok=False).stderr
    assert "was changed" in invoke(root, "replay", session, "--backend", "fake", ok=False).stderr


def test_verdicts_are_given_on_the_command_line(tmp_path: Path, model: Path) -> None:
    root = tmp_path / "sessions"
    session = new(root, model, "--target", 600)
    invoke(root, "capture", session, "--backend", "fake", "--finish")
    with Store(root / session, write=False) as store:
        cells = store.cells()
    assert cells, "the fake backend flags some of hundreds"
    said = invoke(root, "review", session, "--verdict", f"{cells[0].number}=confirmed").stdout
    assert "confirmed" in said
    for wrong in ("x=confirmed", "1", "1=perhaps"):
        invoke(root, "review", session, "--verdict", wrong, ok=False)


def test_a_drawn_slide_never_goes_by_a_rule_of_photographs(tmp_path: Path, model: Path) -> None:
    root = tmp_path / "sessions"
    manifest = read_artifact(model).manifest
    assert manifest.screening is not None
    decision = replace(manifest.screening.decision, threshold=0.123, simulated=False)
    changed = replace(manifest, screening=replace(manifest.screening, decision=decision))
    (model / "manifest.json").write_text(manifest_json(changed))
    session = new(root, model)
    with Store(root / session, write=False) as store:
        assert store.settings.rule == replace(
            made_up_rule(), decision=replace(made_up_rule().decision, positive="ring")
        )
    kept = next(root.glob(".drawn-rule-*"))
    assert str(store.settings.rule.decision.threshold) in kept.read_text()


def test_identifiers_need_a_key_and_open_with_it_alone(tmp_path: Path, model: Path) -> None:
    pytest.importorskip("cryptography")
    root, file = tmp_path / "sessions", tmp_path / "names"
    file.write_text("name=Ada of Nowhere\n")
    refused = CliRunner().invoke(
        cli.cli,
        ["screen", "new", "--operator", "o", "--camera", "simulated", "--model", str(model),
         "--identifiers", str(file), "--sessions", str(root)],
    )  # fmt: skip
    assert "never stored in clear" in str(refused.exception)
    assert not list(root.glob("*")) if root.exists() else True
    invoke(root, "key", tmp_path / "key")
    invoke(root, "key", tmp_path / "other")
    session = new(root, model, "--identifiers", file, "--site-key", tmp_path / "key")
    assert "name" in invoke(root, "verify", session, "--site-key", tmp_path / "key").stdout
    wrong = invoke(root, "verify", session, "--site-key", tmp_path / "other", ok=False)
    assert "sealed with the key" in str(wrong.exception)
    for path in (root / session).rglob("*"):
        assert not path.is_file() or b"Ada of Nowhere" not in path.read_bytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--camera", "simulatd"), "unknown camera 'simulatd'"),
        (("--camera", "folder", "--parasitaemia", "1"), "--parasitaemia belongs to"),
        (("--camera", "simulated", "--language", "xx"), "unknown language 'xx'"),
        (("--camera", "simulated", "--operator", " "), "operator ' ' must be"),
        (("--camera", "simulated", "--haematocrit", "0.4"), "haematocrit 0.4 must be"),
    ],
)
def test_what_does_not_fit_is_named(
    tmp_path: Path, model: Path, options: tuple[str, ...], message: str
) -> None:
    given = ["screen", "new", "--operator", "o", "--model", str(model), *options]
    found = CliRunner().invoke(cli.cli, [*given, "--sessions", str(tmp_path / "s")])
    assert message in str(found.exception)
    assert not (tmp_path / "s").exists()


def test_a_real_camera_needs_a_rule_of_validation_patients(tmp_path: Path, model: Path) -> None:
    manifest = replace(read_artifact(model).manifest, screening=None)
    (model / "manifest.json").write_text(manifest_json(manifest))
    given = ["new", "--operator", "o", "--model", model, "--camera", "folder"]
    found = invoke(tmp_path / "s", *given, ok=False)
    assert "has no slide rule" in str(found.exception)


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="no ssh-keygen")
def test_a_report_is_signed_and_checked(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    key, root = new_key("clinic"), tmp_path / "sessions"
    session = new(root, model)
    invoke(root, "capture", session, "--finish", "--backend", "fake")
    missing = invoke(root, "report", session, "--key", "clinc", ok=False)
    assert "unknown key 'clinc'" in str(missing.exception) + missing.stderr
    assert "SHA256SUMS.sig" in invoke(root, "report", session, "--key", "clinic").stdout
    checked = invoke(root, "verify", session, "--signer", key.public)
    assert f"report signed by {key.public}" in checked.stdout
    (root / session / "report" / "cells.csv").write_text("")
    refused = invoke(root, "verify", session, "--signer", key.public, ok=False)
    assert "cells.csv was changed" in refused.stderr
