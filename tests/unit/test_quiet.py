from __future__ import annotations

import errno
import os
import subprocess
import sys

import pytest

from edge_sdk.errors import BackendError, DataError, ModelError
from edge_sdk.quiet import quiet
from edge_sdk.train.tensorflow import import_tensorflow


def test_chatter_is_held_back_also_of_native_code() -> None:
    script = (
        "import os; from edge_sdk.quiet import quiet\n"
        "with quiet('chatting'):\n"
        "    print('from Python'); os.write(1, b'from C'); os.write(2, b'from C')\n"
        "print('afterwards')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("afterwards\n", "")


def test_a_foreign_error_says_what_failed_and_what_was_said_last() -> None:
    with pytest.raises(ModelError, match=r"chatting failed: bad thing .*said last: the reason"):  # noqa: PT012, SIM117
        with quiet("chatting"):
            os.write(2, b"noise\nthe reason\n")
            raise RuntimeError("bad\nthing")


@pytest.mark.parametrize(
    "error", [DataError("ours"), OSError(errno.ENOSPC, "full"), KeyboardInterrupt()]
)
def test_our_own_the_system_s_and_the_user_s_pass_through(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, quiet("chatting"):
        raise error
    assert caught.value is error


def test_a_reader_s_oserror_without_a_number_is_the_file_s_fault() -> None:
    with pytest.raises(ModelError, match="no signature"), quiet("loading"):
        raise OSError("no signature")


def test_missing_tensorflow_says_how_to_install_it(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(BackendError, match=r"pip install 'edge-sdk\[convert\]'"):
        import_tensorflow()
