"""`edge-sdk serve` as a process: HTTPS, kills in the middle of a slide, signals, ports."""

from __future__ import annotations

import datetime
import ipaddress
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("cv2")
pytest.importorskip("uvicorn")
pytest.importorskip("cryptography")
pytest.importorskip("httpx2")

import httpx2 as httpx
from screening_sessions import keep_rule
from serve_slides import TOKEN, slide_model, until

from edge_sdk.screening.reader import FieldReader
from edge_sdk.screening.replay import replay
from edge_sdk.screening.store import Store

CODE = "import sys; from edge_sdk.cli import main; sys.exit(main())"
WAIT_S = 60.0


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signed itself, and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "edge-sdk test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    one, other = folder / "certificate.pem", folder / "key.pem"
    one.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    other.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return one, other


class Served:
    """The program in a process of its own, and a client with a visit."""

    def __init__(self, folder: Path, *words: Any, trusted: Path | None = None) -> None:
        folder.mkdir()
        self.out, self.err = folder / "out", folder / "err"
        with self.out.open("w") as out, self.err.open("w") as err:
            command = [sys.executable, "-c", CODE, "serve", *map(str, words)]
            self.process = subprocess.Popen(command, stdout=out, stderr=err)
        until(self._printed, WAIT_S)
        self.address = re.findall(r"open (\S+)/enter", self.out.read_text())[0]
        context = ssl.create_default_context(cafile=trusted) if trusted else True
        self.client = httpx.Client(
            base_url=self.address, verify=context, timeout=WAIT_S,
            headers={"Origin": self.address},
        )  # fmt: skip

    def _printed(self) -> bool:
        assert self.process.poll() is None, self.err.read_text()
        return "/enter" in self.out.read_text()

    def enter(self, token: str) -> None:
        until(self._answers, WAIT_S)
        assert self.client.post("/enter", data={"token": token}).status_code == 303
        page = self.client.get("/").text
        found = re.search(r'name="csrf" content="([^"]+)"', page)
        assert found is not None
        self.client.headers["X-CSRF"] = found[1]

    def _answers(self) -> bool:
        try:
            return bool(self.client.get("/enter").status_code == 200)
        except httpx.TransportError:
            return False

    def state(self, slide: str) -> dict[str, Any]:
        found: dict[str, Any] = self.client.get(f"/api/slide/{slide}/state").json()
        return found

    def take(self, slide: str) -> dict[str, Any]:
        live = until(lambda: self.state(slide)["live"], WAIT_S)
        answer = self.client.post(f"/api/slide/{slide}/take", json={"number": live["number"]})
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        return self.process.wait(WAIT_S)


def asked_in_vain(served: Served, path: str, body: dict[str, int]) -> None:
    """The program may be gone before it answers."""
    with suppress(httpx.TransportError):
        served.client.post(path, json=body)


@pytest.fixture
def serve(tmp_path: Path, models: Path) -> Iterator[Any]:
    model = slide_model(models, tmp_path / "model")
    keep_rule(tmp_path / "slides", model, threshold=0.7)
    token = tmp_path / "token"
    token.write_text(TOKEN)
    made: list[Served] = []

    def start(*more: Any, trusted: Path | None = None) -> Served:
        words = [
            "--sessions", tmp_path / "slides", "--model", model, "--camera", "simulated",
            "--camera-option", "size=640x480", "--camera-option", "cells=60",
            "--backend", "fake", "--port", "0", *more,
        ]  # fmt: skip
        made.append(Served(tmp_path / f"run{len(made)}", *words, trusted=trusted))
        return made[-1]

    yield start
    for served in made:
        served.client.close()
        if served.process.poll() is None:
            served.process.kill()
            served.process.wait()


@pytest.mark.slow
def test_a_slide_survives_kills_over_https(serve: Any, tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    words = ("--certificate", cert, "--private-key", key, "--token-file", tmp_path / "token")
    served = serve(*words, trusted=cert)
    assert served.address.startswith("https://127.0.0.1:")
    assert TOKEN not in served.out.read_text()
    served.enter(TOKEN)
    cookie = next(iter(served.client.cookies.jar))
    assert cookie.secure
    assert cookie.name.startswith("__Host-")
    asked = {
        "operator": "op-1", "camera": "simulated", "target": 400, "request": str(uuid.uuid4()),
        "camera_options": {"seed": 3},
    }  # fmt: skip
    slide = served.client.post("/api/slides", json=asked).json()["id"]
    counted: list[int] = []
    for kill in range(3):
        for _ in range(2):
            state = served.take(slide)
            counted.append(state["counts"]["fields_accepted"] + state["counts"]["fields_rejected"])
        # In the midst of the next: it is stored whole, or not at all.
        live = until(lambda s=served: s.state(slide)["live"])
        path, body = f"/api/slide/{slide}/take", {"number": live["number"]}
        thread = threading.Thread(target=asked_in_vain, args=(served, path, body))
        thread.start()
        time.sleep(0.08 * kill)
        assert served.end(signal.SIGKILL) == -signal.SIGKILL
        thread.join()
        with Store(tmp_path / "slides" / slide, write=False) as store:
            assert len(store.fields()) in (counted[-1], counted[-1] + 1), (
                "a field that was said to be stored is gone"
            )
            assert store.problems() == ()
        served = serve(*words, trusted=cert)
        served.enter(TOKEN)
        assert served.client.post("/api/slides", json=asked).json()["id"] == slide
        until(lambda s=served: "counts" in s.state(slide))
        found = served.state(slide)["counts"]
        assert found["fields_accepted"] + found["fields_rejected"] >= counted[-1]
    while not served.state(slide)["ready_to_finish"]:
        served.take(slide)
    total = served.state(slide)["counts"]["counted"]
    api = f"/api/slide/{slide}"
    assert served.client.post(f"{api}/finish", json={"counted": total}).status_code == 200
    given = {"cell": 1, "was": None, "now": "confirmed"}
    assert served.client.post(f"{api}/verdict", json=given).status_code == 200
    assert served.end(signal.SIGKILL) == -signal.SIGKILL
    served = serve(*words, trusted=cert)
    served.enter(TOKEN)
    assert "confirmed" in served.client.get(f"/slide/{slide}/review").text
    url = served.client.post(f"{api}/report", json={}).json()["url"]
    assert served.client.get(f"{url}/report.html").status_code == 200
    assert served.end(signal.SIGTERM) == 0
    with Store(tmp_path / "slides" / slide, write=False) as store:
        assert store.problems() == ()
        numbers = [f.number for f in store.fields()]
        assert numbers == list(range(1, len(numbers) + 1))
        with FieldReader(store.settings, backend="fake") as reader:
            assert replay(store, reader).differences == ()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_cleanly_when_it_is_told_to(serve: Any, tmp_path: Path, number: int) -> None:
    served = serve()
    token = re.findall(r"token=(\S+)", served.out.read_text())
    assert len(token) == 1
    served.enter(token[0])
    asked = {"operator": "op-1", "camera": "simulated", "request": str(uuid.uuid4())}
    slide = served.client.post("/api/slides", json=asked).json()["id"]
    until(lambda: served.state(slide)["live"], WAIT_S)
    started = time.monotonic()
    assert served.end(number) == 0
    assert time.monotonic() - started < 15
    assert token[0] not in served.err.read_text()
    assert "Traceback" not in served.err.read_text()
    with Store(tmp_path / "slides" / slide, write=True) as store:
        assert store.state == "capturing"


@pytest.mark.usefixtures("serve")
def test_a_port_that_is_taken_is_an_error(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-c", CODE, "serve", "--port", str(port), "--camera", "simulated",
             "--model", str(tmp_path / "model"), "--sessions", str(tmp_path / "slides")],
            capture_output=True, text=True, timeout=WAIT_S, check=False,
        )  # fmt: skip
    assert done.returncode == 2
    assert f"--port {port}" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.usefixtures("serve")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--certificate", "x"), "belong together"),
        (("--certificate", "token", "--private-key", "token"), "PEM"),
        (("--camera", "folder"), "needs the option 'path'"),
        (("--camera", "webcam"), "unknown camera"),
        (("--token-file", "nothing"), "cannot be read"),
    ],
)
def test_what_does_not_fit_is_said_before_anything_is_served(
    tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE, "serve", "--port", "0", "--model", str(tmp_path / "model"),
         "--sessions", str(tmp_path / "slides"), *words],
        capture_output=True, text=True, timeout=WAIT_S, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert done.stdout == ""
