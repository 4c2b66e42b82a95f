from __future__ import annotations

import csv
from pathlib import Path, PurePosixPath

import pytest

from edge_sdk.errors import UsageError
from edge_sdk.fetch.address import check_url, is_loopback
from edge_sdk.fetch.nih_malaria import index_csv, patient_of
from edge_sdk.fetch.sources import NIH_MALARIA


@pytest.mark.parametrize(
    ("name", "patient"),
    [
        ("C33P1thinF_IMG_20150619_114756a_cell_179.png", "C33P1thinF"),
        ("C189P150ThinF_IMG_20151203_141809_cell_0.png", "C189P150ThinF"),
        ("C1_thinF_IMG_20150604_104722_cell_9.png", "C1_thinF"),
        ("C5NThinF_IMG_20150609_121955_cell_1.png", "C5NThinF"),
        ("C201ThinF_IMG_20150930_143038_cell_7.png", "C201ThinF"),
        ("C37BP2_thinF_IMG_20150620_131423a_cell_92.webp", "C37BP2_thinF"),
        ("C47P8thin_Original_Motic_IMG_20150714_093806_cell_1.png", "C47P8thin_Original_Motic"),
        ("C47P8thinOriginalOlympusCX21_IMG_1_1_cell_1.png", "C47P8thin_Original_Motic"),
        ("cell_179.png", None),
        ("IMG_20150619_114756a_cell_179.png", None),
        ("C33P1thinF_cell_1.png", None),
    ],
)
def test_the_patient_stands_before_the_photograph(name: str, patient: str | None) -> None:
    assert patient_of(name) == patient


@pytest.mark.shared
def test_the_rule_gives_the_patients_of_the_development_data(shared: Path) -> None:
    with (shared / "data" / "nih-malaria" / "index.csv").open(newline="") as f:
        rows = list(csv.DictReader(f))
    assert [patient_of(PurePosixPath(r["file"]).name) for r in rows] == [r["patient"] for r in rows]
    assert (len(rows), len({r["patient"] for r in rows})) == (20_706, 161)


def test_the_index_is_sorted_and_names_what_it_knows() -> None:
    names = ("Uninfected/C5NThinF_IMG_1_1_cell_1.png", "Parasitized/x.png")
    assert index_csv([PurePosixPath(n) for n in names]).splitlines() == [
        "file,label,patient",
        "Parasitized/x.png,Parasitized,",
        "Uninfected/C5NThinF_IMG_1_1_cell_1.png,Uninfected,C5NThinF",
    ]


@pytest.mark.parametrize(
    "url",
    [NIH_MALARIA.url, "https://example.org:8443/a", "http://127.0.0.1:80/a", "http://localhost/",
     "http://[::1]:8080/a"],
)  # fmt: skip
def test_an_address_that_is_fetched_from(url: str) -> None:
    check_url(url)
    assert is_loopback(url) == ("://[::1]" in url or "127." in url or "localhost" in url)


@pytest.mark.parametrize(
    "url",
    ["", "x", "http://example.org/a", "ftp://example.org/a", "file:///etc/passwd", "https:///a",
     "http://127.0.0.1.example.org/a", "http://localhost.example.org/", "ftp://127.0.0.1/a",
     "https://me:secret@example.org/a", "https://example.org/a b", "https://example.org/\r\nX: 1",
     "https://ex\u00e4mple.org/", "https://example.org:99999/", "https://[::1/", "data:,x",
     "http://0.0.0.0/a", "http://192.168.0.1/a", "http://2130706433/a"],
)  # fmt: skip
def test_an_address_that_is_not(url: str) -> None:
    with pytest.raises(UsageError, match="--url") as e:
        check_url(url)
    assert "secret" not in str(e.value)
