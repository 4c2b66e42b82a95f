"""Our own wheel for a device: what its programs can import, and nothing else.

Which files these are is read from the sources: the modules that the programs' own import, in
functions too, as far as they are not of a room that stays on the workstation.
"""

from __future__ import annotations

import ast
import base64
import hashlib
import importlib.metadata
import io
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

import edge_sdk
from edge_sdk.errors import BundleError
from edge_sdk.ondevice.bundle_file import DATE

PACKAGE = "edge_sdk"
# What a device runs: command -> entry point.
SCRIPTS = {
    "edge-classify": "edge_sdk.cli.live:main",
    "edge-sdk": "edge_sdk.cli:main",
    "edge-sdk-device": "edge_sdk.ondevice.program:main",
}
TABLE = "edge_sdk.cli"  # names every command of edge-sdk
# Those that a device has: of each bundle, and of one made `--with` an extra.
COMMANDS = {
    "": ("edge_sdk.cli.__main__", "edge_sdk.cli.classify"),
    "screening": ("edge_sdk.cli.screen", "edge_sdk.cli.screen_site", "edge_sdk.cli.keys"),
    "serve": ("edge_sdk.cli.serve",),
}
# What trains, converts, measures and makes bundles stays on the workstation.
WORKSTATION = (
    "backends.cim", "benchmark", "bundle", "chips", "convert", "device", "evaluate", "fetch",
    "plots", "report", "train", "training_text", "zoo",
)  # fmt: skip
DATA = (".typed", ".toml", ".html", ".css", ".js", ".svg", ".json", ".png", ".webmanifest")


def own_wheel(extras: Sequence[str] = ()) -> tuple[str, bytes]:
    """File name and content of this package's wheel for a bundle with `extras`, always the same
    bytes for the same sources."""
    version = edge_sdk.__version__
    info = f"edge_sdk-{version}.dist-info"
    files = own_files(extras)
    lines = [f"{name} = {value}\n" for name, value in sorted(SCRIPTS.items())]
    about = f"Metadata-Version: 2.4\nName: edge-sdk\nVersion: {version}\n"
    about += "License-Expression: Apache-2.0\nLicense-File: LICENSE\n"
    tag = "Wheel-Version: 1.0\nGenerator: edge-sdk\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files[f"{info}/METADATA"] = about.encode()
    files[f"{info}/WHEEL"] = tag.encode()
    files[f"{info}/entry_points.txt"] = ("[console_scripts]\n" + "".join(lines)).encode()
    files[f"{info}/licenses/LICENSE"] = own_licence()
    record = "".join(f"{n},sha256={_urlsafe(d)},{len(d)}\n" for n, d in sorted(files.items()))
    files[f"{info}/RECORD"] = (record + f"{info}/RECORD,,\n").encode()
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, DATE)
            entry.external_attr = 0o100644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, files[name])
    return f"edge_sdk-{version}-py3-none-any.whl", made.getvalue()


def own_files(extras: Sequence[str] = ()) -> dict[str, bytes]:
    """Path in the wheel -> content: the modules of `own_modules`, and data of their packages."""
    modules = own_modules(extras)
    top = Path(edge_sdk.__file__).parent
    found = {p.relative_to(top.parent).as_posix(): p for p in map(_sources().get, modules) if p}
    packages = {p.parent for p in found.values() if p.name == "__init__.py"}
    for path in sorted(top.rglob("*")):
        if path.suffix in DATA and path.is_file():
            owner = next(p for p in path.parents if (p / "__init__.py").is_file())
            if owner in packages:
                found[path.relative_to(top.parent).as_posix()] = path
    return {name: path.read_bytes() for name, path in sorted(found.items())}


def own_modules(extras: Sequence[str] = ()) -> set[str]:
    """Names of the modules of this package that a device's programs can import."""
    programs = {value.partition(":")[0] for value in SCRIPTS.values()}
    commands = {m for extra in ("", *extras) for m in COMMANDS.get(extra, ())}
    graph = _graph()
    elsewhere = {m for m in graph[TABLE] if m.startswith(f"{TABLE}.")} - commands
    ahead, found = programs | commands & set(graph), set[str]()
    while ahead:
        found |= ahead
        ahead = {m for module in ahead for m in graph[module]} - found - elsewhere
        ahead = {m for m in ahead if not stays(m)}
    return found


def stays(module: str) -> bool:
    """Whether a module is of a room that stays on the workstation. `report` means report_*, too."""
    inside = module.removeprefix(f"{PACKAGE}.")
    return inside.startswith(tuple(f"{r}{end}" for r in WORKSTATION for end in (".", "_"))) or (
        inside in WORKSTATION
    )


@cache
def _sources() -> dict[str, Path]:
    """Name of a module -> its file."""
    top = Path(edge_sdk.__file__).parent
    found = {}
    for path in sorted(top.rglob("*.py")):
        parts = (PACKAGE, *path.relative_to(top).with_suffix("").parts)
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def _graph() -> dict[str, frozenset[str]]:
    """Module -> the modules that it names for import, with the packages that hold them."""
    known = _sources()
    return {
        name: frozenset(_named(ast.parse(path.read_bytes()), known))
        for name, path in known.items()
        if not stays(name)
    }


def _named(tree: ast.AST, known: Mapping[str, Path]) -> Iterator[str]:
    for name in imported(tree):
        parts = name.partition(":")[0].split(".")
        for end in range(1, len(parts) + 1):
            if (module := ".".join(parts[:end])) in known:
                yield module


def imported(tree: ast.AST) -> Iterator[str]:
    """What a source names for import, in functions too: `import` and `from` outside of `if
    TYPE_CHECKING`, and texts that are such a name, as tables of classes have them."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{a.name}" for a in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if node.value.startswith(f"{PACKAGE}.") and " " not in node.value:
                yield node.value
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        else:
            yield from imported(node)


def own_licence() -> bytes:
    """This project's LICENSE (Apache-2.0), from a checkout or an installed wheel."""
    beside = Path(edge_sdk.__file__).parents[1] / "LICENSE"
    if beside.is_file():
        return beside.read_bytes()
    files = importlib.metadata.files("edge-sdk") or []
    for file in files:
        if file.name == "LICENSE":
            return Path(str(file.locate())).read_bytes()
    raise BundleError("this installation of edge-sdk has no LICENSE file: install it again")


def _urlsafe(data: bytes) -> str:
    digest = hashlib.sha256(data).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
