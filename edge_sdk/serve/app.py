"""Addresses to work: pages by Jinja2, JSON for their scripts, pictures, the report's files."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import Future
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qs

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from edge_sdk.errors import EdgeError, UsageError
from edge_sdk.screening.database import InUseError
from edge_sdk.screening.texts import LANGUAGES
from edge_sdk.serve import texts_serve
from edge_sdk.serve.access import VISIT_S, Access, Door, WrongTokenError, cookie_name
from edge_sdk.serve.new_slide import slide_list
from edge_sdk.serve.open_slide import ConflictError, OpenSlide, Snapshot, StaleError
from edge_sdk.serve.work import Work

T = TypeVar("T")
Handler = Callable[[Request], Awaitable[Response]]
HERE = Path(__file__).parent
PATIENCE_S = 120.0  # for the thread's answer; what it does then is done all the same
NAMES = {"report.html": "html", "cells.csv": "csv", "result.json": "json",
         "bundle.fhir.json": "fhir", "SHA256SUMS": "sums"}  # fmt: skip
KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".csv": "text/csv; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".webmanifest": "application/manifest+json",
}
REPORT_POLICY = (
    "sandbox allow-modals; default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_ID = re.compile(r"[A-Z0-9][A-Z0-9-]{0,63}")


def create_app(work: Work, door: Door) -> Starlette:
    """The pages; closes `work` when it ends."""
    pages = Pages(work, door)
    routes = [
        *(Route(path, getattr(pages, name), methods=["GET"]) for path, name in PAGES.items()),
        Route("/enter", pages.entered, methods=["POST"]),
        *(Route(path, getattr(pages, name), methods=["POST"]) for path, name in COMMANDS.items()),
    ]
    faults: Mapping[Any, Any] = {EdgeError: pages.refused, HTTPException: pages.missing}

    @asynccontextmanager
    async def life(_: Starlette) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(work.close)

    guard = Middleware(Access, settings=work.settings, door=door)
    app = Starlette(
        routes=routes, middleware=[guard], exception_handlers=dict(faults), lifespan=life
    )
    app.router.redirect_slashes = False
    return app


PAGES = {
    "/": "home",
    "/enter": "enter",
    "/slide/{id}": "capture",
    "/slide/{id}/review": "review",
    "/slide/{id}/report": "report",
    "/slide/{id}/report/{file}": "report_file",
    "/static/{file}": "static",
    "/sw.js": "service_worker",
    "/manifest.webmanifest": "manifest",
    "/api/slide/{id}/state": "state",
    "/api/slide/{id}/live.jpg": "live",
    "/api/slide/{id}/cell/{n:int}.png": "cell",
    "/api/slide/{id}/field/{n:int}.png": "field",
}
COMMANDS = {
    "/api/slides": "new_slide",
    "/api/slide/{id}/take": "take",
    "/api/slide/{id}/skip": "skip",
    "/api/slide/{id}/automatic": "automatic",
    "/api/slide/{id}/finish": "finish",
    "/api/slide/{id}/verdict": "verdict",
    "/api/slide/{id}/report": "write_report",
}


class Pages:
    def __init__(self, work: Work, door: Door) -> None:
        self._work, self._door = work, door
        self._settings = work.settings
        self._templates = Environment(
            loader=FileSystemLoader(HERE / "pages"), autoescape=True, undefined=StrictUndefined
        )

    # --- pages

    async def enter(self, request: Request) -> Response:
        token = request.query_params.get("token")
        return self._page(request, "enter.html") if token is None else self._enter(request, token)

    async def entered(self, request: Request) -> Response:
        try:
            form = parse_qs((await request.body()).decode(), max_num_fields=4)
        except ValueError:
            form = {}
        return self._enter(request, form.get("token", [""])[0])

    def _enter(self, request: Request, token: str) -> Response:
        address = request.client.host if request.client else ""
        try:
            visit = self._door.enter(token.strip(), address)
        except WrongTokenError as e:
            wait = {"Retry-After": str(round(e.wait_s) + 1)} if e.wait_s else {}
            wrong = str(e) if e.wait_s else True
            status = 429 if e.wait_s else 403
            return self._page(request, "enter.html", status=status, headers=wait, wrong=wrong)
        found = RedirectResponse("/", status_code=303)
        found.set_cookie(
            cookie_name(self._settings), visit.cookie, max_age=round(VISIT_S), httponly=True,
            samesite="strict", secure=self._settings.secure,
        )  # fmt: skip
        return found

    async def home(self, request: Request) -> Response:
        slides, unreadable = await run_in_threadpool(slide_list, self._settings.sessions)
        defaults = {
            "operator": slides[0]["operator"] if slides else "",
            "device": self._settings.device,
            "camera": self._settings.camera,
            "target": 2000,
            "language": None,
            "parasitaemia": 1,
            "diameter": None,
        }
        return self._page(
            request, "home.html", slides=slides, unreadable=unreadable, defaults=defaults,
            cameras=self._settings.cameras, languages=LANGUAGES,
        )  # fmt: skip

    async def capture(self, request: Request) -> Response:
        slide = await self._slide(request, OpenSlide.summary)
        if slide["state"] in ("review", "reported"):
            kind = {"review": "review", "reported": "report"}[slide["state"]]
            return RedirectResponse(f"/slide/{slide['session']}/{kind}", status_code=303)
        told = texts_serve.instructions(slide["language"])
        return self._page(request, "capture.html", slide=slide, instructions=told)

    async def review(self, request: Request) -> Response:
        slide, cells = await self._slide(request, lambda s: (s.summary(), s.review_list()))
        return self._page(request, "review.html", slide=slide, cells=cells)

    async def report(self, request: Request) -> Response:
        def told(s: OpenSlide) -> tuple[Any, ...]:
            if s.store.state != "reported":
                raise ConflictError(f"slide {s.id} has no report yet: finish its review first")
            return s.summary(), s.said(), s.report_files()

        slide, statement, found = await self._slide(request, told)
        files = [
            {
                "name": name,
                "kind": NAMES.get(name, "other"),
                "url": f"/slide/{slide['session']}/report/{name}",
                "size": path.stat().st_size,
            }
            for name, path in found.items()
        ]
        files.sort(key=lambda f: [*NAMES, f["name"]].index(f["name"]))
        return self._page(request, "report.html", slide=slide, statement=statement, files=files)

    async def report_file(self, request: Request) -> Response:
        files = await self._slide(request, OpenSlide.report_files)
        name = request.path_params["file"]
        if name not in files:
            raise HTTPException(404)
        page = name.endswith(".html")
        return FileResponse(
            files[name],
            media_type=KINDS.get(files[name].suffix, "text/plain; charset=utf-8"),
            filename=name,
            content_disposition_type="inline" if page else "attachment",
            headers={"Content-Security-Policy": REPORT_POLICY},
        )

    async def static(self, request: Request) -> Response:
        return self._static(request, request.path_params["file"])

    async def service_worker(self, request: Request) -> Response:
        return self._static(request, "sw.js")

    async def manifest(self, request: Request) -> Response:
        return self._static(request, "manifest.webmanifest")

    def _static(self, request: Request, name: str) -> Response:
        found = {p.name: p for p in (HERE / "static").iterdir() if p.suffix in KINDS}.get(name)
        if found is None:
            raise HTTPException(404)
        data = found.read_bytes()
        tag = f'"{hashlib.sha256(data).hexdigest()[:32]}"'
        headers = {"Cache-Control": "no-cache", "ETag": tag}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(data, media_type=KINDS[found.suffix], headers=headers)

    # --- JSON and pictures

    async def state(self, request: Request) -> Response:
        return JSONResponse(dict((await self._watched(request)).state))

    async def live(self, request: Request) -> Response:
        pictures = (await self._watched(request)).pictures
        number = request.query_params.get("n") or str(max(pictures, default=""))
        found = {str(n): data for n, data in pictures.items()}.get(number)
        if found is None:
            raise HTTPException(404)
        return Response(found, media_type="image/jpeg")

    async def _watched(self, request: Request) -> Snapshot:
        found = self._work.poll(request.path_params["id"])
        if found is None:
            found = await self._slide(request, OpenSlide.snapshot, polite=True)
        return found

    async def cell(self, request: Request) -> Response:
        cells = await self._slide(request, OpenSlide.cells, polite=True)
        return _picture(cells.thumbnails.get(request.path_params["n"]))

    async def field(self, request: Request) -> Response:
        cells = await self._slide(request, OpenSlide.cells, polite=True)
        return _picture(await run_in_threadpool(cells.field, request.path_params["n"]))

    async def new_slide(self, request: Request) -> Response:
        body = await _json(request)
        slide, made = await self._answer(self._work.new_slide(body))
        return JSONResponse({"id": slide, "url": f"/slide/{slide}"}, 201 if made else 200)

    async def take(self, request: Request) -> Response:
        return await self._command(request, OpenSlide.take, number=int)

    async def skip(self, request: Request) -> Response:
        return await self._command(request, OpenSlide.skip, number=int)

    async def automatic(self, request: Request) -> Response:
        return await self._command(request, OpenSlide.set_automatic, on=bool)

    async def finish(self, request: Request) -> Response:
        return await self._command(request, OpenSlide.finish, counted=int)

    async def verdict(self, request: Request) -> Response:
        given = await _body(request, cell=int, was=(str, type(None)), now=(str, type(None)))
        await self._slide(request, lambda s: s.verdict(**given))
        return JSONResponse({"cell": given["cell"], "now": given["now"]})

    async def write_report(self, request: Request) -> Response:
        await _body(request)
        await self._slide(request, OpenSlide.report)
        return JSONResponse({"url": f"/slide/{request.path_params['id']}/report"})

    async def _command(
        self, request: Request, command: Callable[..., None], **kinds: type
    ) -> Response:
        """Does it, and answers with the state after it."""
        given = await _body(request, **kinds)

        def done(slide: OpenSlide) -> Snapshot:
            command(slide, **given)
            return slide.snapshot()

        return JSONResponse(dict((await self._slide(request, done)).state))

    # --- what they share

    async def _slide(
        self, request: Request, command: Callable[[OpenSlide], T], *, polite: bool = False
    ) -> T:
        slide = request.path_params["id"]
        if not _ID.fullmatch(slide) or not (self._settings.sessions / slide).is_dir():
            raise HTTPException(404)
        return await self._answer(self._work.with_slide(slide, command, polite=polite))

    async def _answer(self, future: Future[T]) -> T:
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), PATIENCE_S)
        except TimeoutError:
            raise EdgeError("the device is busy: wait, and look again") from None

    def _page(
        self,
        request: Request,
        name: str,
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        **given: Any,
    ) -> Response:
        lang = given["slide"]["language"] if "slide" in given else _language(request)
        visit = request.scope.get("visit")
        html = self._templates.get_template(name).render(
            lang=lang,
            csrf=visit.csrf if visit else "",
            said=lambda key, **values: texts_serve.said(key, lang, **values),
            **given,
        )
        return Response(html, status, headers, "text/html; charset=utf-8")

    def _error(self, request: Request, status: int, why: str, **more: Any) -> Response:
        path = request.scope["path"]
        if path.startswith(("/slide/", "/enter")) or path == "/":
            return self._page(request, "fault.html", status=status, error=why)
        return JSONResponse({"error": why, **more}, status)

    async def refused(self, request: Request, error: Exception) -> Response:
        status = 400 if isinstance(error, UsageError) else 503
        if isinstance(error, (ConflictError, InUseError)):
            status = 409
        more = {"verdicts": error.verdicts} if isinstance(error, StaleError) else {}
        return self._error(request, status, str(error), **more)

    async def missing(self, request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        why = {404: "there is no such page, slide or picture", 405: "not done that way"}
        return self._error(request, status, why.get(status, "this request cannot be answered"))


def _picture(data: bytes | None) -> Response:
    if data is None:
        raise HTTPException(404)
    return Response(data, media_type="image/png" if data[:4] == b"\x89PNG" else "image/jpeg")


async def _json(request: Request) -> Any:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise UsageError("Content-Type must be application/json")
    try:
        return json.loads(await request.body())
    except (ValueError, RecursionError):
        raise UsageError("not JSON") from None


async def _body(request: Request, **kinds: Any) -> dict[str, Any]:
    """An object of just these keys, each of its type (bool is no int). Raises UsageError."""
    found = await _json(request)
    if not isinstance(found, dict) or set(found) != set(kinds):
        raise UsageError(f"the body must be an object of {', '.join(kinds) or 'no keys'}")
    for name, kind in kinds.items():
        if type(found[name]) not in (kind if isinstance(kind, tuple) else (kind,)):
            raise UsageError(f"{name} is of the wrong type")
    return found


def _language(request: Request) -> str:
    """What the browser's user reads first of what there is."""
    if (asked := request.query_params.get("lang")) in LANGUAGES:
        return str(asked)
    for part in request.headers.get("accept-language", "").split(","):
        code = part.partition(";")[0].strip().lower().partition("-")[0]
        if code in LANGUAGES:
            return code
    return "en"
