# SPDX-License-Identifier: Apache-2.0
"""A capture's bytes at any place: mapped, or, of a wrapped capture, unwrapped into a file without a name first."""

from __future__ import annotations

import contextlib
import mmap
import shutil
import tempfile
from collections.abc import Iterator
from typing import BinaryIO

from git_hmopt.errors import MeasurementError
from git_hmopt.traces.source import Source
from git_hmopt.traces.tables import TraceFormatError


@contextlib.contextmanager
def mapped(source: Source) -> Iterator[mmap.mmap]:
    """Give the unwrapped bytes; a slice of them is a copy.

    TraceFormatError when there are none, or the wrapper is damaged; MeasurementError when they cannot be read.
    """
    with contextlib.ExitStack() as stack:
        try:
            if source.is_wrapped():
                file: BinaryIO = stack.enter_context(tempfile.TemporaryFile())
                with source.open() as stream:
                    shutil.copyfileobj(stream, file, 1 << 20)
                file.flush()
            else:
                file = stack.enter_context(source.path.open("rb"))
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError as error:
            raise TraceFormatError(f"{source.path}: the file is empty") from error
        except OSError as error:
            raise MeasurementError(f"cannot read the capture {source.path}: {error.strerror or error}") from error
        with content:
            yield content
