# SPDX-License-Identifier: Apache-2.0
"""Puts what arrives at the same time into the queue with one write to the disk.

A delivery is acknowledged when it cannot be lost any more, which takes the disk's time; two hundred a second would wait
for each other. So one thread writes, and whatever came while it wrote goes into its next write.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from git_hmopt.errors import HmoptError, StoreError
from git_hmopt.store.queue import Draft, Queue

_MOST = 256
"""Drafts of one write."""


@dataclass(frozen=True)
class _Waiting:
    draft: Draft
    replay: tuple[str, float] | None
    answer: asyncio.Future[bool]
    loop: asyncio.AbstractEventLoop


class Inbox:
    """A thread between an event loop and the queue; `open` it before the first `put`."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._waiting: list[_Waiting] = []
        self._changed = threading.Condition()
        self._ending = False

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """Have the thread run meanwhile; what was put before the end is written."""
        thread = threading.Thread(target=self._write, name="inbox")
        thread.start()
        try:
            yield
        finally:
            with self._changed:
                self._ending = True
                self._changed.notify()
            thread.join()

    async def put(self, draft: Draft, *, replay: tuple[str, float] | None = None) -> bool:
        """Put a job and say whether it is new, once it is on the disk; StoreError when it cannot be written.

        `replay`: what must not have been shown before, and for how many seconds that is remembered.
        """
        loop = asyncio.get_running_loop()
        one = _Waiting(draft, replay, loop.create_future(), loop)
        with self._changed:
            if self._ending:
                raise StoreError("the server is ending")
            self._waiting.append(one)
            self._changed.notify()
        return await one.answer

    def _write(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._ending:
                    self._changed.wait()
                batch, self._waiting = self._waiting[:_MOST], self._waiting[_MOST:]
            if not batch:
                return
            self._put(batch)

    def _put(self, batch: list[_Waiting]) -> None:
        try:
            answers = self._queue.put_all([one.draft for one in batch], replays=[one.replay for one in batch])
        except HmoptError as error:
            for one in batch:
                _tell(one, error)
            return
        for one, fresh in zip(batch, answers, strict=True):
            _tell(one, fresh)


def _tell(one: _Waiting, answer: bool | HmoptError) -> None:
    def settle() -> None:
        # Whoever asked may have gone away.
        if one.answer.done():
            return
        if isinstance(answer, HmoptError):
            one.answer.set_exception(answer)
        else:
            one.answer.set_result(answer)

    with contextlib.suppress(RuntimeError):  # its loop was closed
        one.loop.call_soon_threadsafe(settle)
