"""A deadline that proofs carry with them and look at often."""

import math
import time


class OutOfTime(Exception):
    """The deadline has passed; whoever set it answers "unknown"."""


class Clock:
    """Seconds until a deadline.

    >>> clock = Clock(60)
    >>> 59 < clock.left() <= 60 and clock.part(0.5).left() <= 30
    True
    >>> Clock(-1).check()
    Traceback (most recent call last):
        ...
    lossproof.prove.clock.OutOfTime: out of time
    """

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @classmethod
    def for_ever(cls) -> "Clock":
        """A clock without a deadline."""
        return cls(math.inf)

    def left(self) -> float:
        """Seconds left; negative past the deadline."""
        return self._end - time.monotonic()

    def check(self) -> None:
        """Raise ``OutOfTime`` past the deadline."""
        if time.monotonic() > self._end:
            raise OutOfTime("out of time")

    def part(self, share: float) -> "Clock":
        """A clock with a share of the seconds that are left on this one."""
        return Clock(share * self.left())
