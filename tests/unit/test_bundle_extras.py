"""What --with adds to a bundle: this package's own extras, judged for the device."""

from __future__ import annotations

import importlib.metadata
import tomllib
from email.message import Message
from pathlib import Path

import pytest

import edge_sdk
from edge_sdk.bundle import extras, targets, wheels
from edge_sdk.bundle.targets import Wanted, make_target
from edge_sdk.errors import BundleError, UsageError

PROJECT = Path(edge_sdk.__file__).parents[1] / "pyproject.toml"


def test_the_requirements_are_those_of_the_package() -> None:
    declared = tomllib.loads(PROJECT.read_text())["project"]["optional-dependencies"]
    for name in ("serve", "mqtt"):
        asked, system = extras.extra_requirements((name,), "aarch64", "3.13")
        assert (asked, system) == (tuple(sorted(declared[name])), ())
    asked, _ = extras.extra_requirements(extras.check_extras(["serve"]), "aarch64", "3.13")
    named = {extras.parse_requirement(r).name for r in asked}
    assert {"opencv-python-headless", "cryptography", "starlette", "uvicorn", "jinja2"} <= named
    assert not [n for n in named if "litert" in n or "tflite" in n]


def test_installed_metadata_say_the_same_as_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    declared = extras.own_extras()
    about = Message()
    for extra in ("screening", "opencv", "mqtt"):
        about["Provides-Extra"] = extra
        for line in declared[extra]:
            requirement, semicolon, marker = line.partition(";")
            judged = f"({marker.strip()}) and " if " or " in marker else f"{marker.strip()} and "
            ending = f"extra == '{extra}'"
            about["Requires-Dist"] = f"{requirement}; {judged if semicolon else ''}{ending}"
    monkeypatch.setattr(importlib.metadata, "metadata", lambda _: about)
    expected = extras.extra_requirements(("mqtt", "screening"), "aarch64", "3.11")
    monkeypatch.setattr(edge_sdk, "__file__", "/nowhere/edge_sdk/__init__.py")
    assert extras.extra_requirements(("mqtt", "screening"), "aarch64", "3.11") == expected


def test_unknown_names_are_an_error() -> None:
    with pytest.raises(UsageError, match=r"unknown --with 'screning'\. Did you mean screening"):
        make_target("rpi4", None, "3.11", None, ["screning"])
    target = make_target("rpi4", None, "3.11", None, ["serve", "mqtt", "serve"])
    assert target.extras == ("mqtt", "screening", "serve")


def test_opencv_is_one_that_takes_the_numpy_of_debian_12() -> None:
    for python, found in (("3.11", ",<4.12"), ("3.13", "")):
        target = make_target("rpi4", None, python, None, ["screening"])
        (cv,) = (r for r in targets.wanted(target).extras if r.startswith("opencv"))
        assert cv.endswith(f">=4.8{found}")


def test_a_32_bit_system_has_some_of_it_itself() -> None:
    target = make_target("rpi4", "armv7l", "3.11", None, ["screening"])
    assert target.system == ("numpy", "PIL", "cryptography", "cv2")
    assert targets.wanted(target).extras == ()


@pytest.mark.parametrize(
    ("marker", "holds"),
    [
        ("python_version < '3.12'", True),
        ("python_version < '3.9'", False),
        ("python_full_version >= '3.11.0'", True),
        ("platform_machine != 'armv7l'", True),
        ("sys_platform == 'linux' and (platform_machine == 'x' or python_version > '3')", True),
        ("extra == 'ssh'", False),
        ("platform_python_implementation != 'PyPy'", True),
        ("sys_platform in 'win32 cygwin'", False),
        ("sys_platform not in 'win32 cygwin'", True),
    ],
)
def test_markers_are_judged_for_the_device(marker: str, holds: bool) -> None:
    assert extras.parse_requirement(f"a>=1; {marker}").applies("aarch64", "3.11") is holds


@pytest.mark.parametrize("text", ["a; python_version ~= '3.1'", "a; spam == 'x'", "a; len(b)"])
def test_markers_that_cannot_be_judged_are_an_error(text: str) -> None:
    with pytest.raises(BundleError, match="cannot be judged"):
        extras.parse_requirement(text).applies("aarch64", "3.11")


@pytest.mark.parametrize(
    ("text", "name", "given"),
    [
        ("anyio<5,>=4.0.0", "anyio", "anyio<5,>=4.0.0"),
        ("MarkupSafe>=2.0", "markupsafe", "MarkupSafe>=2.0"),
        ("h11 (>=0.8)", "h11", "h11>=0.8"),
        ("edge-sdk[runtime, opencv]", "edge-sdk", "edge-sdk[runtime,opencv]"),
        ("typing_extensions>=4; extra == 'x'", "typing-extensions", "typing_extensions>=4"),
    ],
)
def test_requirements_are_read(text: str, name: str, given: str) -> None:
    found = extras.parse_requirement(text)
    assert (found.name, found.given) == (name, given)


def test_what_an_extra_s_wheels_need_is_fetched_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what those need; but not what a runtime's wheel names, which serves its converter."""
    from test_bundle import wheel

    index = {
        "run": "Requires-Dist: converter",
        "web": "Requires-Dist: sockets<5,>=4\nRequires-Dist: old; python_version < '3.8'",
        "sockets": "Requires-Dist: web\nRequires-Dist: extra-thing; extra == 'all'",
    }
    calls: list[list[str]] = []

    def pip(wanted: Wanted, asked: list[str], folder: Path) -> None:
        del wanted
        calls.append(list(asked))
        for name in {extras.parse_requirement(a).name for a in asked}:
            (folder / f"{name}-1-py3-none-any.whl").write_bytes(wheel(name, {}, index[name]))

    monkeypatch.setattr(wheels, "_pip", pip)
    wanted = Wanted(("run==1",), ("any",), "3.11", ("web>=1",), "aarch64")
    found = wheels.fetch(wanted, tmp_path / "cache")
    assert [n.split("-")[0] for n in found] == ["run", "sockets", "web"]
    assert calls[-1][:3] == ["run==1", "web>=1", "sockets<5,>=4"]
