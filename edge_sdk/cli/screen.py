"""`edge-sdk screen`: thin smears, from fields of view to a slide's result."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_sdk.cli.options import Bars, Number, backend_option, threads_option
from edge_sdk.cli.screen_options import (
    PATH,
    calibration_option,
    camera_options,
    device_option,
    model_option,
    operator_option,
    screening_model,
    session_at,
    sessions_folder,
    sessions_option,
)
from edge_sdk.errors import EdgeError, UsageError, shown

if TYPE_CHECKING:
    from edge_sdk.screening.store import Store


def _label(store: Store) -> None:
    from edge_sdk.screening.slide import DISCLAIMER

    if store.settings.simulated:
        click.echo("SIMULATED: drawn fields, not photographed; no result of a person")
    click.echo(DISCLAIMER)


@click.group()
def screen() -> None:
    """Screen thin smears: a research aid, not a medical device."""


@screen.command("new")
@click.option("--operator", required=True, help="Who works; a short name or number.")
@device_option
@click.option("--camera", required=True, help="picamera2, v4l2, folder or simulated.")
@camera_options
@click.option("--parasitaemia", type=Number(0, 100), help="Percent, of a simulated slide [1].")
@model_option
@calibration_option
@click.option("--red-cells", type=Number(0), help="The patient's red cells per uL, as 4.8e6.")
@click.option("--haematocrit", type=Number(0, 100), help="The patient's, in percent.")
@click.option(
    "--target", default=2000, show_default=True, type=click.IntRange(1), help="Red cells to count."
)
@click.option("--diameter", type=Number(0), help="Of a red cell, pixels [found in each field].")
@click.option("--language", default="en", show_default=True, help="Of the report: en, fr or zh.")
@click.option(
    "--identifiers",
    type=click.File("r", encoding="utf-8"),
    help="File of NAME=VALUE lines, - for standard input; kept encrypted, with --site-key.",
)
@click.option("--site-key", type=PATH, help="The site's key file, from `edge-sdk screen key`.")
@sessions_option
def new(
    camera_option: tuple[str, ...],
    model: Path | None,
    identifiers: Any,
    site_key: Path | None,
    sessions: Path | None,
    device: str | None,
    **given: Any,
) -> None:
    """Make a session; prints its id, a pseudonym drawn by chance."""
    import platform

    from edge_sdk.live.settings import parse_camera_option
    from edge_sdk.screening.identity import read_key
    from edge_sdk.screening.make_session import NewSession, new_session

    with Bars() as bars:
        asked = NewSession(
            artifact=screening_model(model),
            device=device or platform.node() or "unnamed",
            camera_options=dict(parse_camera_option(o) for o in camera_option),
            identifiers={} if identifiers is None else _identifiers(identifiers.read()),
            key=None if site_key is None else read_key(site_key),
            **given,
        )
        folder = new_session(sessions_folder(sessions), asked, bars)
    manifest = asked.artifact.manifest
    rule, sha = manifest.screening, manifest.sha256
    if asked.camera != "simulated" and rule and rule.model_sha256 not in (None, sha):
        click.echo(
            "thresholds: measured on another computer's conversion of this model, which is not "
            "the same to the byte; `edge-sdk screen rule` measures this one",
            err=True,
        )
    click.echo(folder.name)
    if asked.camera == "simulated":
        click.echo(
            "SIMULATED: its thresholds are chosen on drawings, not the model's own", err=True
        )
    click.echo(f"in {folder}; next: edge-sdk screen capture {folder.name}", err=True)


def _identifiers(text: str) -> dict[str, str]:
    found = {}
    for line in filter(None, (x.strip() for x in text.splitlines())):
        name, equals, value = line.partition("=")
        if not equals:
            raise UsageError("--identifiers: each line must be NAME=VALUE, as name=...")
        found[name.strip()] = value.strip()
    return found


@screen.command("capture")
@click.argument("session")
@click.option("--finish", is_flag=True, help="End counting now, below the target too.")
@click.option("--fields", type=click.IntRange(1), help="Take at most so many pictures now.")
@operator_option
@backend_option
@threads_option
@sessions_option
def capture(
    session: str,
    finish: bool,
    fields: int | None,
    operator: str | None,
    backend: str,
    threads: int,
    sessions: Path | None,
) -> None:
    """Count fields of SESSION until its target; run again after an interruption."""
    from itertools import islice

    from edge_sdk.screening import session as s
    from edge_sdk.screening.gates import Gates
    from edge_sdk.screening.make_session import open_session_camera
    from edge_sdk.screening.reader import FieldReader
    from edge_sdk.screening.state import after
    from edge_sdk.screening.store import Store

    with Store(session_at(sessions, session), write=True) as store:
        _label(store)
        who = operator or store.settings.operator
        after(store.state, "capture", store.settings.session)
        with FieldReader(store.settings, backend=backend, threads=threads) as reader:
            gates = Gates(stain=store.settings.stain)
            for name in s.begin(store, reader, who, gates):
                click.echo(f"removed {name}: its field was never counted", err=True)
            taken = len(store.fields())
            with open_session_camera(store.settings, taken) as camera:
                steps = s.capture(store, camera, reader, gates, who)
                for step in islice(steps, fields):
                    click.echo(_step_line(store, step))
                for note in () if store.settings.simulated else camera.notes:
                    click.echo(shown(note), err=True)
        flagged, counted = store.counts()
        if counted >= store.settings.target or finish:
            click.echo(s.finish(store, who).statement)
            click.echo(f"next: edge-sdk screen review {store.settings.session}", err=True)
        else:
            click.echo(
                f"{flagged:,} of {counted:,} red cells flagged, {store.settings.target:,} aimed "
                "for: run capture again, or end with --finish"
            )


def _step_line(store: Store, step: Any) -> str:
    field = step.field
    start = "SIMULATED " if store.settings.simulated else ""
    if not field.accepted:
        todo = "; ".join(g.instruction for g in field.gates if not g.passed)
        return f"{start}field {field.number}: not counted: {todo}"
    line = (
        f"{start}field {field.number}: {field.flagged} of {field.cells} cells flagged; so far "
        f"{step.flagged:,} of {step.counted:,} (target {step.target:,})"
    )
    if step.limits is not None and step.limits.detection is not None:
        per = step.limits.detection * store.settings.blood.per_ul
        line += f", limit of detection {per:,.0f} per uL"
    return line


@screen.command("review")
@click.argument("session")
@click.option(
    "--verdict",
    "verdicts",
    multiple=True,
    metavar="CELL=WORD",
    help="confirmed, rejected, unsure or none, as 3=confirmed; may be repeated.",
)
@operator_option
@sessions_option
def review(
    session: str,
    verdicts: tuple[str, ...],
    operator: str | None,
    sessions: Path | None,
) -> None:
    """List the flagged cells of SESSION, the most probable first, and judge them.

    `edge-sdk serve` shows them on a page.
    """
    from edge_sdk.screening.review import set_verdict, to_review
    from edge_sdk.screening.session import result_of
    from edge_sdk.screening.store import Store

    with Store(session_at(sessions, session), write=True) as store:
        _label(store)
        who = operator or store.settings.operator
        for text in verdicts:
            cell, _, word = text.partition("=")
            if not cell.isascii() or not cell.isdigit() or not word:
                raise UsageError(f"--verdict '{text}' must be CELL=WORD, as 3=confirmed")
            set_verdict(store, int(cell), None if word == "none" else word, who)
        for c in to_review(store):
            place = f"field {c.field} at {c.box[0]},{c.box[1]}"
            picture = store.folder / c.thumbnail
            click.echo(f"{c.number:4} {c.probability:.3f} {c.verdict or '-':9} {place}  {picture}")
        click.echo(result_of(store).statement)


@screen.command("report")
@click.argument("session")
@click.option("--key", help="Sign them with this key, a name in `edge-sdk keys` [unsigned].")
@operator_option
@sessions_option
def report(session: str, key: str | None, operator: str | None, sessions: Path | None) -> None:
    """Write the reports of SESSION and end its review."""
    from edge_sdk.keys import read_key, sign
    from edge_sdk.screening.make_record import report as write
    from edge_sdk.screening.session import result_of
    from edge_sdk.screening.signature import NAMESPACE, Signer
    from edge_sdk.screening.store import Store

    with Store(session_at(sessions, session), write=True) as store:
        _label(store)
        signer = None
        if key is not None:
            found = read_key(key)
            signer = Signer(found.fingerprint, lambda data: sign(data, found, NAMESPACE))
        for path in write(store, operator or store.settings.operator, signer):
            click.echo(str(path))
        click.echo(result_of(store).statement)


@screen.command("status")
@click.argument("session", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
@sessions_option
def status(session: str | None, as_json: bool, sessions: Path | None) -> None:
    """Show where SESSION stands, or all sessions."""
    import json

    from edge_sdk.screening.session import session_ids, session_summary
    from edge_sdk.screening.store import Store

    root = sessions_folder(sessions)
    folders = [session_at(sessions, session)] if session else [root / s for s in session_ids(root)]
    for folder in folders:
        try:
            with Store(folder, write=False) as store:
                found = session_summary(store)
        except EdgeError as e:
            if session:
                raise
            click.echo(f"{folder.name}  {e}", err=True)
            continue
        if as_json:
            click.echo(json.dumps(found))
            continue
        mark = "  SIMULATED" if found["simulated"] else ""
        click.echo(
            f"{found['session']}  {found['state']:9}  {found['flagged']} of {found['counted']} "
            f"flagged (target {found['target']}), {found['fields_accepted']} fields, "
            f"{found['fields_rejected']} rejected, {found['reviewed']} reviewed{mark}"
        )
    if not folders:
        click.echo(f"no sessions in {root}: make one with `edge-sdk screen new`", err=True)


@screen.command("replay")
@click.argument("session")
@backend_option
@threads_option
@sessions_option
def replay(session: str, backend: str, threads: int, sessions: Path | None) -> None:
    """Count SESSION again from its pictures.

    Ends with status 1, and says what differs, unless all agrees to the last cell.
    """
    from edge_sdk.errors import DataError
    from edge_sdk.screening.reader import FieldReader
    from edge_sdk.screening.replay import replay as again
    from edge_sdk.screening.store import Store

    with Store(session_at(sessions, session), write=False) as store:
        _label(store)
        with FieldReader(store.settings, backend=backend, threads=threads) as reader:
            found = again(store, reader)
    click.echo(f"{found.fields} fields: {found.flagged:,} of {found.cells:,} red cells flagged")
    click.echo(found.statement)
    for line in found.differences:
        click.echo(f"differs: {line}", err=True)
    if found.differences:
        raise DataError(f"session {session}: {len(found.differences)} differences")
    click.echo("replayed: the same to the last cell")


@screen.command("export")
@click.argument("session")
@click.option("--out", required=True, type=PATH, help="File to write.")
@click.option("--format", "form", default="zip", show_default=True, help="zip, csv or json.")
@click.option("--no-pictures", is_flag=True, help="Leave the fields' pictures out of a zip.")
@sessions_option
def export(session: str, out: Path, form: str, no_pictures: bool, sessions: Path | None) -> None:
    """Write SESSION into one file with hashes; identifiers are in none."""
    from edge_sdk.screening.export import export as write
    from edge_sdk.screening.store import Store

    with Store(session_at(sessions, session), write=True) as store:
        _label(store)
        found = write(store, out, form, pictures=not no_pictures)
    click.echo(f"{found}  {out}")


@screen.command("purge")
@click.argument("session")
@click.option("--yes", is_flag=True, help="Do not ask.")
@operator_option
@sessions_option
def purge(session: str, yes: bool, operator: str | None, sessions: Path | None) -> None:
    """Remove pictures, counts and identifiers of SESSION; its audit log stays."""
    from edge_sdk.screening.store import Store

    with Store(session_at(sessions, session), write=True) as store:
        if not yes:
            click.confirm(f"Remove all but the audit log of {store.settings.session}?", abort=True)
        store.purge(operator or store.settings.operator)
        click.echo(f"{store.settings.session} purged; its audit log stays in {store.folder}")


@screen.command("verify")
@click.argument("session")
@click.option("--site-key", type=PATH, help="Also check that it opens the identifiers.")
@click.option("--signer", type=PATH, help="Also check that this KEY.pub signed the report.")
@sessions_option
def verify(session: str, site_key: Path | None, signer: Path | None, sessions: Path | None) -> None:
    """Check database, audit chain, rows and pictures of SESSION; status 1 for a fault."""
    from edge_sdk.errors import DataError
    from edge_sdk.screening.identity import read_key, unseal
    from edge_sdk.screening.store import Store

    with Store(session_at(sessions, session), write=False) as store:
        problems = store.problems()
        if signer is not None:
            from edge_sdk.screening.signature import signature_problems

            problems += signature_problems(store, signer)
        if site_key is not None:
            names = unseal(store.settings.session, store.sealed(), read_key(site_key))
            click.echo(f"identifiers that open: {', '.join(names) or 'none are stored'}")
        length, head = store.audit_end
    for line in problems:
        click.echo(line, err=True)
    if problems:
        raise DataError(f"session {session}: {len(problems)} problems")
    click.echo(f"whole: {length} audit entries, the last has {head}")
    if signer is not None:
        click.echo(f"report signed by {signer}")
