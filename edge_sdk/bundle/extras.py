"""What a bundle made `--with` an extra has to carry beside a classifier's wheels.

The requirements are this package's own, as pyproject.toml has them; what those need in turn is
read from the wheels. Markers (PEP 508) are judged for the device, not for this workstation, which
pip's own resolver cannot be asked to do.
"""

from __future__ import annotations

import ast
import importlib.metadata
import operator
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import edge_sdk
from edge_sdk.errors import BundleError, UsageError, unknown_name

OWN = "edge-sdk"
# What `--with` takes -> the extras that it needs, and thereby the wheels.
EXTRAS = {"mqtt": ("mqtt",), "screening": ("screening",), "serve": ("screening", "serve")}
BROUGHT = ("runtime",)  # a bundle has one interpreter anyhow
# What no wheel is published for on 32 bit, and as which module Debian's own package has it.
SYSTEM = {"opencv-python-headless": "cv2", "cryptography": "cryptography"}
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)\s*(?:\[([^]]*)\])?\s*\(?([^;)]*)\)?\s*(?:;(.*))?")
_COMPARE: Mapping[type[ast.cmpop], Callable[..., bool]] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le,
    ast.Gt: operator.gt, ast.GtE: operator.ge, ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
}  # fmt: skip


@dataclass(frozen=True)
class Requirement:
    """name: normalised. extras: of that package. given: for pip, without marker."""

    name: str
    extras: tuple[str, ...]
    given: str
    marker: str

    def applies(self, arch: str, python: str) -> bool:
        """On Linux with that architecture and Python, no extra asked for."""
        return not self.marker or _holds(self.marker, arch, python)


def check_extras(names: Iterable[str]) -> tuple[str, ...]:
    """What `--with` was given as sorted extras, with those that they need.

    Raises UsageError for one that there is not."""
    found: set[str] = set()
    for name in names:
        if name not in EXTRAS:
            raise UsageError(unknown_name("--with", name, EXTRAS))
        found |= set(EXTRAS[name])
    return tuple(sorted(found))


def extra_requirements(
    extras: Iterable[str], arch: str, python: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What pip is asked for, and modules that the device's system has to have instead.

    Raises BundleError for a requirement that is left out there and that no system has."""
    declared = own_extras()
    ahead, seen, asked, system = list(extras), set[str](), set[str](), set[str]()
    while ahead:
        extra = ahead.pop()
        if extra in seen or extra in BROUGHT:
            continue
        seen.add(extra)
        for requirement in map(parse_requirement, declared[extra]):
            if requirement.name == OWN:
                ahead += requirement.extras
            elif requirement.applies(arch, python):
                asked.add(requirement.given)
            elif requirement.name in SYSTEM:
                system.add(SYSTEM[requirement.name])
            else:
                raise BundleError(
                    f"--with {extra}: {requirement.name} has no wheel for {arch}, Python {python}"
                )
    return tuple(sorted(asked)), tuple(sorted(system))


def own_extras() -> dict[str, list[str]]:
    """Extra -> its requirements: of the checkout's pyproject.toml, else of what is installed."""
    project = Path(edge_sdk.__file__).parents[1] / "pyproject.toml"
    if project.is_file():
        text = project.read_text(encoding="utf-8")
        found: dict[str, list[str]] = tomllib.loads(text)["project"]["optional-dependencies"]
        return found
    about = importlib.metadata.metadata(OWN)
    made: dict[str, list[str]] = {e: [] for e in about.get_all("Provides-Extra", [])}
    for line in about.get_all("Requires-Dist", []):
        if ending := re.search(r"(?:and\s+|;\s*)extra == ['\"]([^'\"]+)['\"]\s*$", line):
            made[ending[1]].append(line[: ending.start()].rstrip(" ;"))
    return made


def parse_requirement(text: str) -> Requirement:
    """A line of Requires-Dist or pyproject.toml. Raises BundleError for another form."""
    found = _REQUIREMENT.fullmatch(text.strip())
    if found is None:
        raise BundleError(f"requirement '{text}' cannot be read")
    name, extras, version, marker = found.groups()
    inside = tuple(e.strip() for e in (extras or "").split(",") if e.strip())
    given = name + (f"[{','.join(inside)}]" if inside else "") + version.replace(" ", "")
    return Requirement(normalised(name), inside, given, (marker or "").strip())


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _holds(marker: str, arch: str, python: str) -> bool:
    values = {
        "platform_machine": arch, "python_version": python, "python_full_version": f"{python}.0",
        "sys_platform": "linux", "platform_system": "Linux", "os_name": "posix", "extra": "",
        "implementation_name": "cpython", "platform_python_implementation": "CPython",
    }  # fmt: skip

    def text(node: ast.expr) -> str:
        if isinstance(node, ast.Name) and node.id in values:
            return values[node.id]
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return node.value
        raise BundleError(f"marker '{marker}' of a requirement cannot be judged")

    def judge(node: ast.expr) -> bool:
        if isinstance(node, ast.BoolOp):
            every = isinstance(node.op, ast.And)
            return (all if every else any)([judge(v) for v in node.values])
        if not isinstance(node, ast.Compare) or len(node.ops) != 1:
            raise BundleError(f"marker '{marker}' of a requirement cannot be judged")
        left, right = text(node.left), text(node.comparators[0])
        compare = _COMPARE[type(node.ops[0])]
        if "version" in ast.unparse(node):
            return compare(_version(left), _version(right))
        return compare(left, right)

    try:
        return judge(ast.parse(marker, mode="eval").body)
    except SyntaxError as e:
        raise BundleError(f"marker '{marker}' of a requirement cannot be judged") from e


def _version(text: str) -> tuple[int, ...]:
    numbers = [int(n) for n in re.findall(r"\d+", text)]
    return tuple(numbers + [0] * (4 - len(numbers)))
