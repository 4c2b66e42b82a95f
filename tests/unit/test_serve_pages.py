"""What the pages of serve say and load: three languages, the gates' own words, nothing from outside
and nothing that a page's policy would refuse."""

from __future__ import annotations

import ast
import json
import re
import string
from pathlib import Path

import pytest
from PIL import Image
from screening_words import forbidden

import edge_sdk.serve as serve
from edge_sdk.screening import gates
from edge_sdk.screening.segment import NO_SMEAR
from edge_sdk.screening.texts import LANGUAGES, TABLE
from edge_sdk.serve.texts_serve import INSTRUCTIONS, SERVE, instructions, said

ROOM = Path(serve.__file__).parent
PAGES = sorted((ROOM / "pages").glob("*.html"))
STATIC = sorted((ROOM / "static").iterdir())
SCRIPTS = [p for p in STATIC if p.suffix == ".js"]
SAID = r"""said\(\s*["']([^"'{}]+)["']"""


def placeholders(words: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(words) if name is not None}


@pytest.mark.parametrize("key", SERVE)
def test_every_key_is_in_every_language_with_the_same_figures(key):
    words = SERVE[key]
    assert len(words) == len(LANGUAGES)
    assert all(w.strip() for w in words)
    assert len({frozenset(placeholders(w)) for w in words}) == 1
    assert [forbidden(w) for w in words] == [[]] * len(LANGUAGES)


def test_no_key_hides_one_of_the_reports():
    assert not set(SERVE) & set(TABLE)


def test_gates_instructions_are_word_for_word_those_that_are_translated():
    tree = ast.parse(Path(gates.__file__).read_text(encoding="utf-8"))
    asked = {
        node.value.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id == "text"
        and isinstance(node.value, ast.Constant)
    }
    assert asked | {NO_SMEAR} == {english for english, *_ in INSTRUCTIONS}
    assert all(words != english for english, words in instructions("zh").items())
    assert instructions("en") == {english: english for english, *_ in INSTRUCTIONS}


def asked_for() -> dict[str, set[str]]:
    """Keys that pages and scripts name, by file."""
    found = {p.name: set(re.findall(SAID, p.read_text())) for p in [*PAGES, *SCRIPTS]}
    for page in PAGES:
        for listed in re.findall(r"words\(\[(.*?)\]\)", page.read_text(), re.DOTALL):
            found[page.name] |= set(re.findall(r'"([^"]+)"', listed))
    return found


def test_every_text_that_a_page_names_is_there_and_every_text_is_said():
    by_file = asked_for()
    there = {*SERVE, *TABLE}
    for name, keys in by_file.items():
        assert {k for k in keys if not k.endswith(".")} <= there, name
    every = "".join(p.read_text() for p in [*PAGES, *SCRIPTS])
    put_together = ("state.", "language.")
    unsaid = {k for k in SERVE if not re.search(f"[\"']{re.escape(k)}[\"']", every)}
    assert {k for k in unsaid if not k.startswith(put_together)} == set()


@pytest.mark.parametrize(
    ("script", "page"),
    [("home.js", "home.html"), ("capture.js", "capture.html"), ("review.js", "review.html"),
     ("report.js", "report.html")],
)  # fmt: skip
def test_a_page_gives_its_scripts_the_words_they_say(script, page):
    code = "".join(
        (ROOM / "static" / name).read_text()
        for name in (script, "common.js", *(["charts.js"] if page[0] in "cr" else []))
        if not (name == "charts.js" and page == "review.html")
    )
    named = {k for k in (*SERVE, *TABLE) if f"'{k}'" in code and re.search("[. ]", k)}
    named |= set(re.findall(SAID, code))
    assert named
    assert named <= asked_for()[page]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_pages_have_nothing_inline_and_nothing_from_outside(page):
    words = page.read_text(encoding="utf-8")
    assert "style=" not in words
    assert "<style" not in words
    assert not re.search(r"\son\w+=", words)
    assert "://" not in words
    assert "|safe" not in words
    for script in re.findall(r"<script[^>]*>", words):
        assert 'src="/static/' in script or 'type="application/json"' in script


@pytest.mark.parametrize(
    "path", [p for p in STATIC if p.suffix not in (".png", ".svg")], ids=lambda p: p.name
)
def test_static_files_load_nothing_from_outside_and_make_no_markup(path):
    words = path.read_text(encoding="utf-8")
    assert "://" not in words.replace("http://www.w3.org/2000/svg", "")
    for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
        assert way not in words


def test_the_web_app_installs_with_icons_of_the_sizes_it_names():
    manifest = json.loads((ROOM / "static" / "manifest.webmanifest").read_text())
    assert manifest["description"] == said("label", "en")
    for icon in manifest["icons"]:
        path = ROOM / icon["src"].removeprefix("/")
        if path.suffix == ".png":
            with Image.open(path) as image:
                assert "{}x{}".format(*image.size) == icon["sizes"]
        else:
            assert path.is_file()


def test_what_the_service_worker_keeps_is_there_and_is_static():
    worker = (ROOM / "static" / "sw.js").read_text()
    kept = re.findall(r"'(/[^']+)'", worker.split("const SHELL")[1].split("];")[0])
    assert set(kept) >= {f"/static/{p.name}" for p in SCRIPTS if p.name != "sw.js"}
    for path in kept:
        assert path == "/manifest.webmanifest" or (
            path.startswith("/static/") and (ROOM / path.removeprefix("/")).is_file()
        )


def test_the_label_is_on_the_page_that_is_shown_while_the_server_is_away():
    away = (ROOM / "static" / "away.html").read_text(encoding="utf-8")
    for language in LANGUAGES:
        for key in ("label", "away"):
            assert said(key, language).replace("\u00a0", " ") in away.replace("\u00a0", " ")
