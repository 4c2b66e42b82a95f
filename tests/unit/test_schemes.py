from __future__ import annotations

import pytest

from edge_sdk.backends import BACKENDS
from edge_sdk.cli.convert import SCHEME_NAMES
from edge_sdk.cli.options import BACKEND_NAMES
from edge_sdk.convert.schemes import SCHEMES, scheme_named, with_depthwise_bits
from edge_sdk.errors import UsageError


@pytest.mark.parametrize("name", SCHEMES)
def test_a_scheme_is_found_by_its_name(name: str) -> None:
    scheme = scheme_named(name)
    assert scheme.name == name
    assert scheme.summary
    assert 0 < scheme.max_drop <= 5
    assert scheme.integer == (not name.startswith("float"))


def test_fewer_bits_may_lose_more() -> None:
    limits = [SCHEMES[n].max_drop for n in ("float32", "float16", "int8", "w4a8")]
    assert limits == sorted(limits)


@pytest.mark.parametrize(
    ("name", "near"), [("int4", "int8"), ("W4A8", "w4a8"), ("fp16", "float16")]
)
def test_an_unknown_scheme_suggests_near_misses(name: str, near: str) -> None:
    with pytest.raises(UsageError, match=rf"unknown scheme '{name}'\. Did you mean .*{near}"):
        scheme_named(name)


def test_the_command_lines_help_names_what_there_is() -> None:
    assert SCHEME_NAMES.split(", ") == list(SCHEMES)
    assert BACKEND_NAMES.replace(" or ", ", ").split(", ") == ["auto", *BACKENDS]


def test_depthwise_bits_are_those_of_the_scheme_with_narrow_convolutions() -> None:
    both = [SCHEMES["int8"], SCHEMES["w4a8"]]
    assert with_depthwise_bits(both, 8) == both
    int8, w4a8 = with_depthwise_bits(both, 4)
    assert int8 is SCHEMES["int8"]
    assert (w4a8.name, w4a8.depthwise_bits, w4a8.convolution_bits) == ("w4a8", 4, 4)
    with pytest.raises(UsageError, match=r"--depthwise-bits 4: only w4a8 .* --to w4a8"):
        with_depthwise_bits(both[:1], 4)
