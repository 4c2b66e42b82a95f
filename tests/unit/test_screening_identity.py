from __future__ import annotations

import builtins
import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from edge_sdk.errors import BackendError, DataError, UsageError
from edge_sdk.screening.identity import new_key, new_pseudonym, read_key, seal, unseal

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))
NAMES = {"name": "Ng\u1ecdc \u5c0f\u660e", "ward": "3"}


def test_what_was_sealed_opens_with_its_key_and_is_not_in_clear() -> None:
    pytest.importorskip("cryptography")
    sealed = seal("S", NAMES, KEY)
    assert unseal("S", sealed, KEY) == NAMES
    for s in sealed:
        assert NAMES[s.name].encode() not in s.data
    assert len({s.nonce for s in sealed}) == len(sealed)


def test_a_wrong_key_is_named() -> None:
    pytest.importorskip("cryptography")
    with pytest.raises(DataError, match="sealed with the key"):
        unseal("S", seal("S", NAMES, KEY), OTHER)


@pytest.mark.parametrize("change", ["data", "session", "name"])
def test_what_was_changed_or_moved_does_not_open(change: str) -> None:
    pytest.importorskip("cryptography")
    sealed, session = seal("S", NAMES, KEY), "S"
    if change == "data":
        data = bytearray(sealed[0].data)
        data[0] ^= 1
        sealed = (dataclasses.replace(sealed[0], data=bytes(data)),)
    elif change == "name":
        sealed = (dataclasses.replace(sealed[0], name="ward"),)
    else:
        session = "T"
    with pytest.raises(DataError, match="was changed, or is of another session"):
        unseal(session, sealed, KEY)


def test_without_the_package_identifiers_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def absent(name: str, *args: Any) -> Any:
        if name.startswith("cryptography"):
            raise ImportError(name)
        return real(name, *args)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(BackendError, match=r"edge-sdk\[screening\]"):
        seal("S", NAMES, KEY)


@pytest.mark.parametrize("value", ["", "x" * 1001])
def test_an_empty_or_overlong_identifier_is_refused(value: str) -> None:
    pytest.importorskip("cryptography")
    with pytest.raises(UsageError, match="identifier 'name'"):
        seal("S", {"name": value}, KEY)


def test_a_key_file_is_its_owners_alone_and_never_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "key"
    made = new_key(file)
    assert file.stat().st_mode & 0o777 == 0o600
    assert len(read_key(file)) == 32
    assert re.fullmatch(r"[0-9a-f]{16}", made)
    with pytest.raises(UsageError, match="never overwritten"):
        new_key(file)
    file.chmod(0o644)
    with pytest.raises(UsageError, match="chmod 600"):
        read_key(file)


@pytest.mark.parametrize("text", ["", "zz", "00" * 31, "hello"])
def test_a_file_that_is_no_key_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "key"
    file.write_text(text)
    file.chmod(0o600)
    with pytest.raises(UsageError, match="is no key"):
        read_key(file)


def test_pseudonyms_differ_and_have_no_letter_that_is_misread() -> None:
    made = {new_pseudonym() for _ in range(200)}
    assert len(made) == 200
    assert all(re.fullmatch(r"[2-9A-HJ-NP-Z]{4}-[2-9A-HJ-NP-Z]{4}", p) for p in made)
