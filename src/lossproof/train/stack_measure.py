"""Measuring members of a stack: passes forward and back, and all sums, are computed for all of them at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lossproof.train.measure import Measurer, Split
from lossproof.train.member import Member, Row
from lossproof.train.stack import Stack
from lossproof.train.table import SPLITS

Measure = Callable[[Member], list[Row]]
Found = dict[str, dict[str, float | str]]


class StackMeasurer(Measurer):
    """A measurer that takes members together which their stack has trained in this epoch: the same up to rounding."""

    def __init__(self, plain: Measurer, stacks: Sequence[Stack]) -> None:
        self.__dict__.update(plain.__dict__)
        self.stack_of = {member.name: stack for stack in stacks for member in stack.members}
        self.known: dict[int, tuple[int, dict[str, Found]]] = {}

    def __call__(self, member: Member) -> list[Row]:
        """Of a member that was trained in its stack this epoch, from what was measured of the stack; else by itself."""
        stack = self.stack_of.get(member.name)
        if stack is None or member.name not in stack.trained or stack.exact is None:
            return super().__call__(member)
        epoch, found = self.known.get(id(stack), (-1, {}))
        if epoch != member.epoch + 1:
            epoch = member.epoch + 1
            found = self.together(stack, epoch)
            self.known[id(stack)] = (epoch, found)
        return self.rows(member, found[member.name])

    def together(self, stack: Stack, epoch: int) -> dict[str, Found]:
        """Everything measured of all members of a stack, by name and split."""
        first = self.settings.evaluation.gradient_images

        def norms(data: Split) -> list[float]:
            return stack.gradient_norms(data.images[:first], data.noise[:first])

        found: dict[str, Found] = {member.name: {} for member in stack.members}
        for split in SPLITS:
            measured = self.measure_all(stack.members, split, epoch, stack.outputs, norms)
            for member, measures in zip(stack.members, measured, strict=True):
                found[member.name][split] = measures
        return found


def with_stacks(measure: Measure, stacks: Sequence[Stack]) -> Measure:
    """The measuring of members that may be in stacks; anything else than a `Measurer`, as it is."""
    return StackMeasurer(measure, stacks) if stacks and isinstance(measure, Measurer) else measure


__all__ = ["StackMeasurer", "with_stacks"]
