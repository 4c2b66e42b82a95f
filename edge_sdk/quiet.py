"""Keeps other tools' own chatter off the screen, and shows it when they fail."""

from __future__ import annotations

import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from edge_sdk.errors import EdgeError, ModelError


@contextmanager
def quiet(what: str) -> Iterator[None]:
    """Sends standard output and error, those of C++ code too, to a file while the block runs.

    An exception that is not ours becomes a ModelError that says `what` failed, with the reason
    and the last lines that were held back."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(1), os.dup(2)]
    with tempfile.TemporaryFile() as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        except Exception as e:
            # An OSError with a number is the system's (a full disk); one without is a reader's way
            # to say that a file is not what it should be.
            if isinstance(e, EdgeError) or (isinstance(e, OSError) and e.errno is not None):
                raise
            log.seek(0)
            held = log.read().decode(errors="replace").strip().splitlines()
            reason = " ".join(str(e).split())[:500] or type(e).__name__
            detail = f" (the converter said last: {held[-1].strip()[:200]})" if held else ""
            raise ModelError(f"{what} failed: {reason}{detail}") from e
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os.dup2(kept[0], 1)
            os.dup2(kept[1], 2)
            os.close(kept[0])
            os.close(kept[1])
