"""Progress for people: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

LINE_EVERY = 10.0  # s between plain lines


class Progress:
    """Shows what is done, out of how many, and one remark. Use it as a context."""

    def __init__(self, total: int, what: str) -> None:
        self._total = total
        self._what = what
        self._remark = ""
        self._done = 0
        self._bar: Any = None
        self._task: Any = None
        self._last = 0.0
        self._printed = 0

    def __enter__(self) -> Progress:
        if sys.stdout.isatty():
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
            from rich.progress import Progress as Bar

            self._bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.fields[remark]}"),
            )
            self._bar.start()
            self._task = self._bar.add_task(self._what, total=self._total, remark="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif self._done != self._printed:
            self._print()

    def step(self, remark: str | None = None, done: int | None = None) -> None:
        """One more done, or `done` in all; a new remark is printed at once."""
        self._done = self._done + 1 if done is None else done
        changed = remark is not None and remark != self._remark
        self._remark = self._remark if remark is None else remark
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done, remark=self._remark)
        elif changed or time.monotonic() - self._last > LINE_EVERY:
            self._print()

    def _print(self) -> None:
        self._last, self._printed = time.monotonic(), self._done
        print(f"{self._what} {self._done} of {self._total}  {self._remark}".rstrip(), flush=True)
