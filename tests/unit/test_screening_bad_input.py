"""Pictures that are no fields, by `edge-sdk screen capture` on a folder: no traceback, nothing
counted, and what is to be done."""

from __future__ import annotations

import re
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from screening_records import rule as made_up_rule
from test_artifact import manifest_of

from edge_sdk import cli
from edge_sdk.artifact import manifest_json
from edge_sdk.preprocess import Pixels
from edge_sdk.screening.segment import segment, smear_fault
from edge_sdk.screening.store import Store
from edge_sdk.simulate_field import draw_field

cv2 = pytest.importorskip("cv2")
Given = Pixels | Image.Image | bytes


@pytest.fixture(scope="module")
def smear() -> Pixels:
    return draw_field(3, 3, (960, 720), cells=60).pixels


@pytest.fixture
def model(models: Path, tmp_path: Path) -> Path:
    """An artifact with a slide rule as if measured on real cells; no cell passes its threshold."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.tflite").write_bytes((models / "tiny-int8.tflite").read_bytes())
    rule = made_up_rule(simulated=False)
    rule = replace(rule, decision=replace(rule.decision, positive="ring"))
    manifest = replace(manifest_of(folder / "model.tflite"), screening=rule)
    (folder / "manifest.json").write_text(manifest_json(manifest))
    return folder


class Site:
    """A site with its sessions and a folder of pictures, worked by the command line."""

    def __init__(
        self, root: Path, model: Path, capsys: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch
    ) -> None:
        self.sessions, self.pictures, self.model = root / "sessions", root / "pictures", model
        self._capsys, self._patch = capsys, patch
        self.pictures.mkdir()

    def put(self, name: str, picture: Given) -> None:
        path = self.pictures / name
        if isinstance(picture, bytes):
            path.write_bytes(picture)
        else:
            image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
            image.save(path, "PNG")

    def run(self, *arguments: object) -> tuple[int, str, str]:
        line = ["edge-sdk", "screen", *map(str, arguments), "--sessions", str(self.sessions)]
        self._patch.setattr(sys, "argv", line)
        status = 0
        try:
            cli.main()
        except SystemExit as e:
            status = int(e.code or 0)
        return status, *self._capsys.readouterr()

    def new(self) -> str:
        status, out, err = self.run(
            "new", "--operator", "op-1", "--camera", "folder",
            "--camera-option", f"path={self.pictures}", "--model", self.model,
        )  # fmt: skip
        assert status == 0, err
        return out.strip()

    def capture(self, session: str | None = None) -> tuple[int, str]:
        status, out, err = self.run("capture", session or self.new(), "--backend", "fake")
        assert "Traceback" not in out + err
        return status, out + err

    def counted(self) -> list[int]:
        (folder,) = self.sessions.iterdir()
        with Store(folder, write=False) as store:
            assert store.problems() == ()
            return [f.cells for f in store.fields()]


@pytest.fixture
def site(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Site:
    return Site(tmp_path, model, capsys, monkeypatch)


def noise(seed: int, power: float = 1.2) -> np.ndarray:
    """Light and shade at every scale, as photographs have them: 1/f^power, mean 0, deviation 1."""
    h, w = 720, 960
    waves = np.fft.rfft2(np.random.default_rng(seed).normal(size=(h, w)))
    size = np.hypot(np.fft.fftfreq(h)[:, None], np.fft.rfftfreq(w)[None])
    found = np.fft.irfft2(waves / np.maximum(size, 1 / w) ** power, (h, w))
    found -= found.mean()
    return np.asarray(found / found.std())


def photograph(seed: int) -> Pixels:
    """Like one of fur, a street or leaves: shapes of any size, colours near each other."""
    light = noise(seed)
    planes = [light + 0.4 * noise(seed + 100 + c) for c in range(3)]
    return np.clip(130 + 45 * np.stack(planes, -1), 0, 255).astype(np.uint8)


def sixteen_bits(pixels: Pixels) -> bytes:
    """A PNG of 16 bits a channel, in colour, which Pillow does not write."""
    done, data = cv2.imencode(".png", pixels[..., ::-1].astype(np.uint16) * 257)
    assert done
    return bytes(data)


def test_a_smear_is_counted(site: Site, smear: Pixels) -> None:
    site.put("a.png", smear)
    status, said = site.capture()
    assert status == 0
    assert "field 1: 0 of" in said
    (cells,) = site.counted()
    assert cells > 30


def test_an_empty_field_says_where_to_go(site: Site) -> None:
    rng = np.random.default_rng(0)
    empty = np.clip(rng.normal(215, 3, (720, 960, 3)), 0, 255).astype(np.uint8)
    site.put("a.png", empty)
    status, said = site.capture()
    assert status == 0
    assert "Too few cells. Move to" in said
    assert site.counted() == [0]


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_a_photograph_of_something_else_is_not_counted(site: Site, seed: int) -> None:
    picture = photograph(seed)
    assert len(segment(picture).counted) > 15  # it is not for want of blobs
    site.put("cat.png", picture)
    status, said = site.capture()
    assert status == 0
    assert "does not look like a thin smear" in said
    assert "in focus" in said
    assert site.counted() == [0]


@pytest.mark.parametrize("seed", range(6))
def test_drawn_smears_look_like_smears(seed: int) -> None:
    drawn = draw_field(
        seed, seed, (960, 720), cells=(30, 60, 90)[seed % 3], clumped=(0.0, 0.6)[seed % 2],
        diameter=(50, 80)[seed // 3], defocus=(0.0, 2.0)[seed // 3],
    )  # fmt: skip
    assert smear_fault(segment(drawn.pixels)) is None


@pytest.mark.shared
def test_real_smears_look_like_smears_and_most_photographs_do_not(shared: Path) -> None:
    def faults(folder: Path, step: int) -> list[str | None]:
        paths = sorted(folder.iterdir())[::step]
        pictures = [np.asarray(Image.open(p).convert("RGB")) for p in paths]
        found = [segment(p) for p in pictures]
        return [smear_fault(f) for f in found if len(f.counted) >= 15]

    smears = faults(shared / "data" / "iml-fields" / "images", 15)
    assert len(smears) == 10
    assert smears == [None] * 10
    others = faults(shared / "data" / "imagenet" / "images", 5)
    assert len(others) > 10
    assert sum(f is not None for f in others) / len(others) > 0.7


def test_an_inverted_picture_is_not_counted(site: Site, smear: Pixels) -> None:
    site.put("a.png", 255 - smear)
    status, said = site.capture()
    assert status == 0
    assert re.search(r"not counted: .*(too dark|does not look like)", said)
    assert site.counted() == [0]


def test_sixteen_bits_are_read_as_the_upper_eight(site: Site, smear: Pixels) -> None:
    site.put("a.png", sixteen_bits(smear))
    site.put("b.png", Image.fromarray(smear[..., 1].astype(np.uint16) * 257))
    status, said = site.capture()
    assert status == 0
    assert "field 1: 0 of" in said
    cells, _ = site.counted()
    assert cells == len(segment(smear).counted)


def one_bit(width: int, height: int) -> Image.Image:
    """So many pixels in few bytes of memory and of file."""
    return Image.new("1", (width, height), 1)


def test_a_picture_of_100_megapixels_is_skipped_and_named(site: Site, smear: Pixels) -> None:
    site.put("a.png", one_bit(10_000, 10_000))
    status, said = site.capture()
    assert status == 1
    assert "too large to open safely: shrink it" in said
    assert "100000000 pixels" in said
    site.put("b.png", smear)
    (session,) = (p.name for p in site.sessions.iterdir())
    status, said = site.capture(session)
    assert status == 0
    assert "field 1: 0 of" in said
    assert "1 pictures skipped" in said


def test_a_picture_of_100_megapixels_is_never_in_memory(tmp_path: Path) -> None:
    one_bit(10_000, 10_000).save(tmp_path / "huge.png")
    Image.new("RGB", (64, 64)).save(tmp_path / "small.png")
    code = (
        "import sys, resource\nfrom pathlib import Path\n"
        "from edge_sdk.dataset import open_image\nfrom edge_sdk.errors import DataError\n"
        "try: open_image(Path(sys.argv[1]))\nexcept DataError as e: print(e, file=sys.stderr)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    peak = {
        name: int(subprocess.check_output([sys.executable, "-c", code, tmp_path / name], text=True))
        for name in ("small.png", "huge.png")
    }
    unit = 1024 if sys.platform == "linux" else 1
    assert (peak["huge.png"] - peak["small.png"]) * unit < 12e6  # one bit a pixel would be more


def test_more_pixels_than_a_field_may_have_are_refused_with_the_limit(site: Site) -> None:
    site.put("a.png", one_bit(8000, 6000))
    status, said = site.capture()
    assert status == 0
    assert "8000x6000 is more than the 40000000 pixels" in said
    assert "shrink it" in said
    assert site.counted() == [0]


def test_a_disk_that_takes_no_more_is_said_and_the_field_is_taken_later(
    site: Site, smear: Pixels
) -> None:
    """The system's own refusal: no file may grow beyond 64 KiB. A full disk's, at every single
    step, is in test_screening_kill."""
    site.put("a.png", smear)
    session = site.new()
    line = [sys.executable, "-m", "edge_sdk.cli", "screen", "capture", session,
            "--backend", "fake", "--sessions", str(site.sessions)]  # fmt: skip

    def limited() -> None:
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))

    done = subprocess.run(line, capture_output=True, text=True, preexec_fn=limited, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "was not written" in done.stderr
    assert "run the command again" in done.stderr
    assert site.counted() == []
    status, _ = site.capture(session)
    assert status == 0
    assert len(site.counted()) == 1


def test_a_session_of_a_newer_version_is_left_alone(site: Site, smear: Pixels) -> None:
    import sqlite3

    site.put("a.png", smear)
    session = site.new()
    with sqlite3.connect(site.sessions / session / "session.db") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    status, said = site.capture(session)
    assert status == 1
    assert "newer version (schema 99" in said
    assert "use that version" in said


HOSTILE = ("a;rm -rf ~.png", "$(reboot).png", "-rf.png", "b\nc.png", "<b>.png", "'\"; DROP.png")


def test_hostile_names_of_files_are_only_names(site: Site, smear: Pixels) -> None:
    for i, name in enumerate(HOSTILE):
        site.put(name, np.roll(smear, 150 * i, 1))
    site.put("\x1b[31mred\x07.png", b"no picture")
    site.put("..png", b"no picture")
    status, said = site.capture()
    assert status == 0
    assert len(site.counted()) == len(HOSTILE)
    assert "pictures skipped" in said
    assert not set("\x1b\x07") & set(said)
    assert not any(c in p.name for p in site.sessions.rglob("*") for c in "$<;'\n ")


def test_a_hostile_name_in_an_error_is_shown_harmless(site: Site) -> None:
    site.put("\x1b]0;owned\x07.png", b"no picture")
    status, said = site.capture()
    assert status == 1
    assert "not a readable image" in said
    assert not set("\x1b\x07") & set(said)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n" + b"\0" * 40])
def test_what_is_no_picture_is_named(site: Site, content: bytes) -> None:
    site.put("a.png", content)
    status, said = site.capture()
    assert status == 1
    assert "a.png is not a readable image" in said
