"""A session's rows as the record that reports are made from, and the reports themselves."""

from __future__ import annotations

import json
from pathlib import Path

from edge_sdk.errors import DataError
from edge_sdk.files import sha256
from edge_sdk.screening.audit import canonical, text_hash
from edge_sdk.screening.record import FORMAT, ModelUsed, Override, SlideRecord
from edge_sdk.screening.replay import result_sha256
from edge_sdk.screening.report import write_report
from edge_sdk.screening.review import make_thumbnails
from edge_sdk.screening.session import result_of
from edge_sdk.screening.signature import Signer
from edge_sdk.screening.site import rule_hash
from edge_sdk.screening.state import after
from edge_sdk.screening.store import REPORT, Store
from edge_sdk.strict import to_plain


def make_record(store: Store) -> SlideRecord:
    """Raises UsageError before counting ended."""
    s = store.settings
    after(store.state, "report", s.session)
    make_thumbnails(store)
    logged = [(e, json.loads(e.details)) for e in store.entries()]
    runtimes = [d["runtime"] for e, d in logged if e.event == "capture"]
    if store.finished is None or not runtimes:
        raise DataError(f"session {s.session} has no end of counting: run verify")
    length, head = store.audit_end
    return SlideRecord(
        format=FORMAT,
        session=s.session,
        simulated=s.simulated,
        drawn_parasitaemia=s.drawn_parasitaemia,
        app_version=s.app_version,
        model=ModelUsed(s.model, s.model_sha256, runtimes[-1]),
        rule=s.rule,
        rule_sha256=rule_hash(s.rule),
        site=None if s.site is None else s.site.site,
        site_sha256=None if s.site is None else text_hash(canonical(to_plain(s.site))),
        device=s.device,
        operator=s.operator,
        camera=s.camera,
        created=s.created,
        finished=store.finished,
        language=s.language,
        fields=store.fields(),
        cells=store.cells(),
        overrides=tuple(
            Override(e.time, e.operator, d["cell"], d["was"], d["now"])
            for e, d in logged
            if e.event == "verdict"
        ),
        result=result_of(store),
        audit_entries=length,
        audit_head=head,
    )


def report(store: Store, operator: str, signer: Signer | None = None) -> tuple[Path, ...]:
    """Writes the session's reports, all or none under their names, and ends the review. In a
    session that was reported they are made again. signer: of them, None for unsigned ones."""
    folder = write_report(make_record(store), store.folder / REPORT, signer)
    files = tuple(sorted(p for p in folder.rglob("*") if p.is_file()))
    hashes = {p.relative_to(store.folder).as_posix(): sha256(p) for p in files}
    store.act("report", operator, {"files": hashes, "result_sha256": result_sha256(store)})
    return files
