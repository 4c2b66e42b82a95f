"""One connection of OpenSSH's own client to a program of ours, which is sent as source.

The user's config, keys and jump hosts hold; no connection is left open."""

from __future__ import annotations

import re
import secrets
import shlex
import time
from collections.abc import Callable, Sequence
from typing import Any

from edge_sdk import errors
from edge_sdk.device.channel import Channel, ChannelClosedError, SilentError
from edge_sdk.errors import DeviceError, EdgeError, UsageError

CONNECT_S = 10.0
# The program speaks every second; a device that says nothing for so long sleeps or is gone.
SILENCE_S = 30.0
OPTIONS = (
    "-T",
    "-oBatchMode=yes",
    "-oServerAliveInterval=5",
    "-oServerAliveCountMax=3",
    # A master that the user already runs is used, none is started and left behind.
    "-oControlMaster=no",
    "-oClearAllForwardings=yes",
    "-oPermitLocalCommand=no",
    "-oRemoteCommand=none",
)
BOOTSTRAP = (
    'import sys;r=sys.stdin.buffer;exec(compile(r.read(int(r.readline())),"edge-sdk","exec"))'
)
# What ssh says (never translated) -> what to do about it.
ADVICE = {
    "REMOTE HOST IDENTIFICATION HAS CHANGED": "its host key has changed: if you know why (a new "
    "system on it), remove the old one with ssh-keygen -R and connect once with ssh",
    "Host key verification failed": "its host key is not known yet: connect once with ssh and "
    "accept it",
    "Permission denied": "it accepts none of your keys, and no password is asked for here: see "
    "ssh-copy-id, ssh-add, or IdentityFile in your ssh config",
    "Could not resolve hostname": "no such host: check the name",
    "Connection refused": "nothing listens there: is its SSH server on, is the port right?",
    "No route to host": "it cannot be reached: is it on, and in this network?",
    "Network is unreachable": "it cannot be reached: is it on, and in this network?",
    "Connection timed out": "it does not answer: is it on, and in this network?",
    "Operation timed out": "it does not answer: is it on, and in this network?",
}
LOST = "the connection was lost (a reboot, no power, no network?)"


class LostError(DeviceError):
    """The connection ended after it had been made, or nothing comes from there any more."""


class Link:
    """host: as ssh takes it (user@pi, a Host of your config, ssh://user@pi:2222). python: there.
    options: for ssh's -o (Port=2222). no_python: what to do where `python` is not there; `option`:
    how the command line calls the host."""

    def __init__(
        self,
        host: str,
        *,
        python: str,
        options: Sequence[str],
        no_python: str,
        option: str = "--host",
        connect_s: float = CONNECT_S,
        silence_s: float = SILENCE_S,
    ) -> None:
        """Raises UsageError for a host or an option that ssh would take for something else."""
        if not host.strip() or host.startswith("-"):
            raise UsageError(f"{option} '{host}' is no host; give it as ssh takes it, as pi@rpi4")
        for given in options:
            if not re.fullmatch(r"[A-Za-z0-9]+[= ].+", given):
                raise UsageError(f"--ssh-option '{given}' is not NAME=VALUE, as Port=2222")
        self.host, self._python, self._no_python = host, python, no_python
        self._options = [f"-o{given}" for given in options]
        self._connect_s, self.silence_s = connect_s, silence_s
        self._channel: Channel | None = None
        self._greeted = False

    def open(self, source: bytes) -> dict[str, Any]:
        """Connects and runs `source`; what it says as its hello.

        Raises DeviceError, saying what to do, when the device or a Python is not reached."""
        token = secrets.token_hex(8)
        command = f"{_remote_word(self._python)} -u -c {shlex.quote(BOOTSTRAP)} {token}"
        timeout = f"-oConnectTimeout={max(1, round(self._connect_s))}"
        argv = ["ssh", *OPTIONS, timeout, *self._options, "--", self.host, command]
        try:
            self._channel = Channel(argv, token)
        except OSError as e:
            raise DeviceError(f"cannot start ssh: {e.strerror}; install OpenSSH's client") from e
        try:
            self._channel.send_bytes(b"%d\n%b" % (len(source), source))
            said = self.receive("hello", self._connect_s + self.silence_s)
        except BaseException:
            self._channel.close()
            raise
        del said["hello"]
        self._greeted = True
        return said

    def close(self, *, in_order: bool = False) -> None:
        """in_order: the program is told so before."""
        assert self._channel is not None
        if in_order:
            self._channel.send({"do": "end"})
        self._channel.close()

    def send(self, order: dict[str, Any], data: bytes = b"") -> None:
        assert self._channel is not None
        self._channel.send(order, data)

    def receive(
        self, key: str, timeout_s: float, translate: Callable[[str], str] = str
    ) -> dict[str, Any]:
        """The next message that has `key`; the device's own error is raised as one of ours, in
        the words that `translate` makes of it."""
        assert self._channel is not None
        end = time.monotonic() + timeout_s
        while True:
            left = max(0.0, end - time.monotonic())
            wait = min(left, self.silence_s) if self._greeted else left
            try:
                message = self._channel.receive(wait)
            except ChannelClosedError as e:
                kind = LostError if self._greeted else DeviceError
                raise kind(f"{self.host}: {self._why(e)}") from e
            except SilentError as e:
                raise LostError(
                    f"{self.host} does not answer: nothing came for {wait:.3g} s"
                ) from e
            if "error" in message:
                raise self._error(message, translate)
            if key in message:
                return message
            if not left:
                raise LostError(f"{self.host} gave no {key} within {timeout_s:g} s")

    def _error(self, message: dict[str, Any], translate: Callable[[str], str]) -> EdgeError:
        kind = getattr(errors, str(message.get("kind")), None)
        if not (isinstance(kind, type) and issubclass(kind, EdgeError)):
            kind = DeviceError
        return kind(f"{self.host}: {translate(str(message['error']))}")

    def _why(self, e: ChannelClosedError) -> str:
        """ssh's exit in words: 255 is its own, anything else the remote command's."""
        last = e.errors.splitlines()[-1].removeprefix("ssh: ").strip() if e.errors else "no message"
        if self._greeted:
            return f"{LOST}; ssh: {last}" if e.errors else LOST
        if e.status == 255:
            for said, advice in ADVICE.items():
                if said in e.errors:
                    return f"{advice}; ssh: {last}"
            return f"cannot connect; ssh: {last}"
        if e.status in (126, 127):
            return f"there is no Python '{self._python}' ({last}); {self._no_python}"
        noise = f"'{e.noise}'" if e.noise else last
        return (
            f"it did not run our program, exit status {e.status}: {noise}. It needs a shell that "
            f"runs commands and Python 3.9 or newer as '{self._python}'"
        )


def _remote_word(python: str) -> str:
    """`python` as one word of the device's shell; a leading ~/ is its user's home.

    Raises UsageError for none."""
    if not python.strip() or python.startswith("-"):
        raise UsageError(f"--remote-python '{python}' is no command; give one, as python3")
    if python.startswith("~/"):
        return "~/" + shlex.quote(python[2:])
    return shlex.quote(python)
