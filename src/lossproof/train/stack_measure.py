"""Measuring members of a stack: what takes a pass forward and back is computed for all of them at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lossproof.train.measure import Measurer, Split
from lossproof.train.member import Member, Row
from lossproof.train.stack import Stack

Measure = Callable[[Member], list[Row]]


class StackMeasurer(Measurer):
    """A measurer that takes gradient norms from the stacks: the same numbers up to rounding, in one pass an epoch."""

    def __init__(self, plain: Measurer, stacks: Sequence[Stack]) -> None:
        self.__dict__.update(plain.__dict__)
        self.stack_of = {member.name: stack for stack in stacks for member in stack.members}
        self.known: dict[tuple[int, int], tuple[int, dict[str, float]]] = {}

    def gradient_norm(self, member: Member, data: Split) -> float:
        """Of a member that was trained in its stack this epoch, from the stack's pass; else by its own."""
        stack = self.stack_of.get(member.name)
        if stack is None or member.name not in stack.trained:
            return super().gradient_norm(member, data)
        key = (id(stack), id(data))
        epoch, norms = self.known.get(key, (-1, {}))
        if epoch != member.epoch:
            first = self.settings.evaluation.gradient_images
            norms = stack.gradient_norms(data.images[:first], data.noise[:first])
            self.known[key] = (member.epoch, norms)
        return norms[member.name]


def with_stacks(measure: Measure, stacks: Sequence[Stack]) -> Measure:
    """The measuring of members that may be in stacks; anything else than a `Measurer`, as it is."""
    return StackMeasurer(measure, stacks) if stacks and isinstance(measure, Measurer) else measure


__all__ = ["StackMeasurer", "with_stacks"]
