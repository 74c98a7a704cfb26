"""A deadline that proofs carry with them and look at often."""

import math
import time


class OutOfTime(Exception):
    """The deadline has passed; whoever set it answers "unknown"."""


class Clock:
    """Seconds of this thread's own work until a deadline, so that no verdict depends on what else a machine does.

    ``until``, a time of ``time.monotonic()``, ends it as well; parts of the clock inherit it.

    >>> clock = Clock(60)
    >>> 59 < clock.left() <= 60 and clock.part(0.5).left() <= 30
    True
    >>> Clock(-1).check()
    Traceback (most recent call last):
        ...
    lossproof.prove.clock.OutOfTime: out of time
    """

    def __init__(self, seconds: float, *, until: float = math.inf) -> None:
        self._end, self._until = time.thread_time() + seconds, until
        # work takes at least as long on the wall: before this there is nothing to look at
        self._next = min(time.monotonic() + seconds, until)

    @classmethod
    def for_ever(cls) -> "Clock":
        """A clock without a deadline."""
        return cls(math.inf)

    def left(self) -> float:
        """Seconds left; negative past the deadline."""
        return min(self._end - time.thread_time(), self._until - time.monotonic())

    def check(self) -> None:
        """Raise ``OutOfTime`` past the deadline."""
        now = time.monotonic()
        if now > self._next:
            left = self.left()
            if left < 0:
                raise OutOfTime("out of time")
            self._next = now + left

    def within(self, seconds: float) -> "Clock":
        """A clock of so many seconds, or of those that are left on this one."""
        return Clock(min(seconds, self.left()), until=self._until)

    def part(self, share: float) -> "Clock":
        """A clock with a share of the seconds that are left on this one."""
        return self.within(share * self.left())
