"""How far long work is, told while it runs: a bar at a terminal, and a line at most every five seconds in the log.

A computation calls what it is given with (done, total) and knows nothing else of it; what an output holds never depends on it.
Where the steps of a loop cost unlike amounts, `done` counts the work, not the steps: else the seconds left are wrong.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 5.0

Told = Callable[[int, int], None]  # units done, units in all
Item = TypeVar("Item")


class Progress:
    """Tells the share done, the rate and the seconds left; the end is always told. `what` begins the line, `unit` is what is counted.

    The rate is that of what came after the first call, whose part of the work also paid for warming up.
    """

    def __init__(self, tell: Callable[[str], None], what: str, unit: str) -> None:
        self.tell, self.what, self.unit = tell, what, unit
        self.told = time.monotonic()
        self.began: tuple[float, int] | None = None  # when the first call came, and what was done by then
        self.bar: tqdm | None = None

    def __call__(self, done: int, total: int) -> None:
        self._draw(done, total)
        now = time.monotonic()
        if self.began is None and done < total:
            self.began, self.told = (now, done), now
        if now - self.told < SECONDS_BETWEEN_LINES and done < total:
            return
        since, before = self.began or (self.told, 0)
        self.told = now
        rate = (done - before) / max(now - since, 1e-9)
        shown = f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"
        self.tell(f"{self.what}: {done:,} of {total:,} {self.unit} ({done / max(total, 1):.0%}), {shown} a second, "
                  f"{(total - done) / max(rate, 1e-9):,.0f} s left")  # fmt: skip

    def _draw(self, done: int, total: int) -> None:
        if self.bar is None:  # disable=None: no bar where the output is not a terminal
            self.bar = tqdm(total=total, desc=self.what, unit=f" {self.unit}", unit_scale=True, leave=False, disable=None)
        self.bar.total = total
        self.bar.update(done - self.bar.n)
        if done >= total:
            self.bar.close()


class Tally:
    """Adds up what is done of `total` units, for work whose loop has no one place that knows both; `progress` is told after each part."""

    def __init__(self, progress: Told | None, total: int) -> None:
        self.progress, self.total, self.done = progress, total, 0

    def add(self, units: int) -> None:
        """So many more units are done."""
        self.done += units
        if self.progress:
            self.progress(self.done, self.total)


def counted(items: Sequence[Item], progress: Told | None) -> Iterator[Item]:
    """The items one by one; `progress` is told how many are done, after each."""
    tally = Tally(progress, len(items))
    for item in items:
        yield item
        tally.add(1)
