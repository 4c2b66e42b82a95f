from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_sdk.errors import ArtifactError, DataError, UsageError
from edge_sdk.strict import from_plain, to_plain

finite = st.floats(allow_nan=False, allow_infinity=False)


@dataclass(frozen=True)
class Inner:
    number: int
    share: float
    kind: Literal["a", "b"]
    note: str | None

    def __post_init__(self) -> None:
        if self.number == -1:
            raise UsageError("number -1 is taken")


@dataclass(frozen=True)
class Outer:
    name: str
    flag: bool
    inner: Inner
    many: tuple[Inner, ...]
    pair: tuple[float, float]
    table: dict[str, int]
    maybe: Inner | None = None


inners = st.builds(
    Inner, st.integers(0), finite, st.sampled_from(["a", "b"]), st.text() | st.none()
)
outers = st.builds(
    Outer,
    st.text(),
    st.booleans(),
    inners,
    st.lists(inners, max_size=3).map(tuple),
    st.tuples(finite, finite),
    st.dictionaries(st.text(), st.integers(), max_size=3),
    inners | st.none(),
)
GOOD = Outer(
    "x", True, Inner(1, 0.5, "a", None), (Inner(2, 1.0, "b", "n"),), (1.0, 2.0), {"k": 1},
    Inner(3, 2.0, "a", "m"),
)  # fmt: skip


def read(data: Any) -> Outer:
    return from_plain(Outer, data, "file", DataError)


@settings(deadline=None)
@given(outers)
def test_round_trip_through_json(value: Outer) -> None:
    assert read(json.loads(json.dumps(to_plain(value)))) == value


def test_fields_keep_their_order() -> None:
    assert list(to_plain(GOOD)) == ["name", "flag", "inner", "many", "pair", "table", "maybe"]


def places(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value below `data`."""
    keys = data.items() if isinstance(data, dict) else enumerate(data)
    found = []
    for key, value in keys:
        found.append((*path, key))
        if isinstance(value, (dict, list)):
            found += places(value, (*path, key))
    return found


def spelt(path: tuple[Any, ...]) -> str:
    return "file" + "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in path)


EVERY = places(to_plain(GOOD))
TABLES = [(), ("inner",), ("many", 0), ("maybe",)]


def holder(data: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        data = data[key]
    return data


@pytest.mark.parametrize("path", EVERY, ids=spelt)
def test_a_value_of_another_type_is_an_error_that_names_the_key(path: tuple[Any, ...]) -> None:
    data = to_plain(GOOD)
    holder(data, path[:-1])[path[-1]] = {1, 2}  # no field takes a set
    with pytest.raises(DataError) as e:
        read(data)
    assert str(e.value).startswith(f"{spelt(path)}: ")


@pytest.mark.parametrize("path", TABLES, ids=spelt)
def test_missing_and_unknown_keys_are_errors_that_name_them(path: tuple[Any, ...]) -> None:
    for key in list(holder(to_plain(GOOD), path)):
        data = to_plain(GOOD)
        del holder(data, path)[key]
        if key == "maybe":
            assert read(data).maybe is None
            continue
        with pytest.raises(DataError) as e:
            read(data)
        assert str(e.value) == f"{spelt(path)}: missing key '{key}'"
    data = to_plain(GOOD)
    holder(data, path)["extra"] = 1
    with pytest.raises(DataError) as e:
        read(data)
    assert f"{spelt(path)}: unknown key 'extra'" in str(e.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("number", True),
        ("number", 1.0),
        ("number", None),
        ("share", True),
        ("share", "1"),
        ("share", float("nan")),
        ("share", float("inf")),
        pytest.param("share", 10**400, id="share-huge"),
        ("kind", "c"),
        ("kind", ["a"]),
        ("note", 1),
    ],
)
def test_no_value_is_bent_to_fit(key: str, value: Any) -> None:
    data = to_plain(GOOD)
    data["inner"][key] = value
    with pytest.raises(DataError) as e:
        read(data)
    assert str(e.value).startswith(f"file.inner.{key}: ")


def test_a_whole_number_is_a_float_where_one_is_wanted() -> None:
    data = to_plain(GOOD)
    data["inner"]["share"] = 3
    assert read(data).inner.share == 3.0
    assert type(read(data).inner.share) is float


@pytest.mark.parametrize("pair", [[], [1.0], [1.0, 2.0, 3.0], (1.0, 2.0)])
def test_a_pair_is_a_list_of_two(pair: Any) -> None:
    with pytest.raises(DataError) as e:
        read({**to_plain(GOOD), "pair": pair})
    assert str(e.value).startswith("file.pair: ")


@pytest.mark.parametrize("data", [None, [], "x", 1])
def test_the_top_must_be_a_table(data: Any) -> None:
    with pytest.raises(DataError) as e:
        read(data)
    assert str(e.value).startswith("file: ")


def test_a_value_that_the_class_itself_refuses_is_an_error_of_the_readers_kind() -> None:
    data = copy.deepcopy(to_plain(GOOD))
    data["many"][0]["number"] = -1
    with pytest.raises(ArtifactError, match=r"^file\.many\[0\]: number -1 is taken$"):
        from_plain(Outer, data, "file", ArtifactError)
