"""ReconstructionLoss: a loss as a torch module, checked, with a named reduction."""

from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from lossproof.formula import Interval, LossproofError
from lossproof.formula.errors import nearest
from lossproof.torch.kernel import Both, Kernel, apply, compiled_pair, kernel, total

Reduction = Literal["nats_per_image", "mean", "sum", "none"]
Check = Literal["always", "first", "never"]
_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


class ReconstructionLoss(nn.Module):
    """A reconstruction loss of a decoder's output against the images it should reproduce.

    ``loss`` is a catalogue id, ``"id(param=...)"``, a formula in y and p, ``"module:function"``, a function or
    a ``Loss``. ``forward(input, target)``: two floating tensors of equal shape (batch, ...); ``input`` holds
    logits, or predictions with ``from_logits=False``. Returns a scalar in nats: ``"nats_per_image"`` sums over
    an image and averages over the batch, ``"mean"`` averages over elements, ``"sum"`` sums; ``"none"`` keeps
    the shape. ``excess=True`` subtracts the floor, so that a perfect reconstruction gives 0 (the gradient is
    the same). ``weight`` has the shape of one image, or of the whole batch.

    The range of the target is looked at on the ``"first"`` call by default, which costs one device
    synchronisation; ``check="always"`` or ``"never"`` as you wish. Shapes and dtypes are always checked.

    ``compile=True`` compiles value and gradient into one pass over the data (``torch.compile``; needs a C++
    compiler on a CPU); it serves the reductions other than ``"none"`` on logits without ``weight``. Under a
    ``torch.compile`` of your own leave it off.

    Half-precision inputs are computed in float32 and return float32; their gradients have the input's dtype.

    Raises ``LossproofError`` for unequal shapes, integer tensors, NaN or values outside the loss's domain.
    Formula and source of each loss: ``lossproof.CATALOGUE[id]``.

    >>> import torch
    >>> loss = ReconstructionLoss("bce", excess=True)
    >>> target = torch.tensor([[0.2, 0.9]])
    >>> abs(loss(torch.logit(target), target).item()) < 1e-6
    True
    >>> ReconstructionLoss("bce")(target, target * 255)
    Traceback (most recent call last):
        ...
    lossproof.formula.errors.LossproofError: bce: expected target in [0, 1], got 2 of 2 values outside, first 51 at
    [0, 0] (shape (1, 2), float32). Divide by 255?
    """

    weight: Tensor | None

    def __init__(
        self,
        loss: object,
        *,
        from_logits: bool = True,
        reduction: Reduction = "nats_per_image",
        excess: bool = False,
        weight: Tensor | None = None,
        check: Check = "first",
        compile: bool = False,
    ) -> None:
        super().__init__()
        self.kernel: Kernel = kernel(loss)
        self.label = self.kernel.loss.label
        self.reduction: Reduction = _one_of(reduction, Reduction, "reduction", self.label)
        self.check: Check = _one_of(check, Check, "check", self.label)
        self.from_logits = from_logits
        self.excess = excess
        self.compile_pair = compile
        self._pair: Both | None = None
        self._checked = False
        self._fused = from_logits and self.reduction != "none"  # value and gradient in one pass
        if weight is not None and not isinstance(weight, Tensor):
            raise LossproofError(
                f"{self.label}: expected weight as a tensor of finite floats, got {type(weight).__name__}. "
                "Use torch.tensor(weight)."
            )
        if weight is not None and not (weight.is_floating_point() and bool(torch.isfinite(weight).all())):
            raise LossproofError(f"{self.label}: expected weight as finite floats, got {_brief(weight)}.")
        self.register_buffer("weight", weight)

    def extra_repr(self) -> str:
        """The options, as ``print(module)`` shows them."""
        parts = [repr(self.label), f"reduction={self.reduction!r}"]
        parts += ["from_logits=False"] if not self.from_logits else []
        parts += ["excess=True"] if self.excess else []
        parts += ["compile=True"] if self.compile_pair else []
        return ", ".join(parts)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Loss of ``input`` (logits, or predictions) against ``target``; shapes equal."""
        weight = self._buffers["weight"]
        if not (
            isinstance(input, Tensor)
            and isinstance(target, Tensor)
            and input.shape == target.shape
            and input.is_floating_point()
            and target.is_floating_point()
            and input.numel()
            and weight is None
        ):  # the common case is seen at a glance; what is amiss, if anything, in detail
            self._check_form(input, target)
        if self.check == "always" or (self.check == "first" and not self._checked):
            self._check_range(input, target)
        if self._fused and weight is None:
            scale = 1.0
            if self.reduction == "mean":
                scale = 1 / input.numel()
            elif self.reduction == "nats_per_image" and input.ndim:
                scale = 1 / input.shape[0]
            if self.compile_pair and self._pair is None and not torch.compiler.is_compiling():
                self._pair = compiled_pair(self.kernel)
            result = total(self.kernel, input, target, scale, self._pair)
            return result - self.floor(target).sum().to(result) * scale if self.excess else result
        values = apply(self.kernel, input, target, from_logits=self.from_logits)
        if self.excess:
            values = values - self.floor(target).to(values)
        if weight is not None:
            values = values * weight.to(values)
        return self._reduce(values)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_pair": None}  # what is compiled is compiled again where it is needed

    def floor(self, target: Tensor) -> Tensor:
        """Least possible loss of each element; the target's shape."""
        with torch.no_grad():
            wide = target.to(torch.promote_types(target.dtype, torch.float32))
            if self.kernel.floor is not None:
                return self.kernel.floor(wide)
            from lossproof.lower import function

            found = torch.as_tensor(function(self.kernel.loss).floor(wide.double().cpu().numpy())).to(wide)
            if not bool(torch.isfinite(found).all()):
                at = wide.flatten()[~torch.isfinite(found).flatten()][0].item()
                raise LossproofError(
                    f"{self.label}: expected a finite floor, got {found.min().item():g} at target {at:g}: the loss "
                    "is unbounded below there. Use excess=False."
                )
            return found

    def _reduce(self, values: Tensor) -> Tensor:
        if self.reduction == "none":
            return values
        if self.reduction == "mean":
            return values.mean()
        if self.reduction == "sum" or values.ndim == 0:
            return values.sum()
        return values.sum() / values.shape[0]

    def _check_form(self, input: Tensor, target: Tensor) -> None:
        for name, x in (("input", input), ("target", target)):
            if not isinstance(x, Tensor):
                raise LossproofError(
                    f"{self.label}: expected {name} as a torch tensor, got {type(x).__name__}."
                )
            if not x.is_floating_point():
                advice = " Scale images to [0, 1], as in target.float() / 255." if name == "target" else ""
                raise LossproofError(
                    f"{self.label}: expected {name} of a floating dtype, got {_brief(x)}.{advice}"
                )
        if input.shape != target.shape:
            raise LossproofError(
                f"{self.label}: expected input and target of equal shape, got {tuple(input.shape)} and "
                f"{tuple(target.shape)}. Nothing broadcasts here: reshape one of them."
            )
        if input.numel() == 0:
            raise LossproofError(
                f"{self.label}: expected at least one element, got shape {tuple(input.shape)}."
            )
        if self.weight is not None and self.weight.shape not in (input.shape, input.shape[1:]):
            raise LossproofError(
                f"{self.label}: expected weight of shape {tuple(input.shape[1:])} or {tuple(input.shape)}, got "
                f"{tuple(self.weight.shape)}."
            )

    def _check_range(self, input: Tensor, target: Tensor) -> None:
        # a look at values would break the graph, or cannot be had
        if torch.compiler.is_compiling() or _vmapped():
            return
        for name, x in (("input", input), ("target", target)):
            if x.layout is not torch.strided or x.dtype not in _DTYPES:
                kind = str(x.layout if x.layout is not torch.strided else x.dtype).removeprefix("torch.")
                raise LossproofError(
                    f"{self.label}: expected {name} as a dense tensor of float16, bfloat16, float32 or float64, got {kind} "
                    f"(shape {tuple(x.shape)}). Use {name}.to_dense() or {name}.float()."
                )
        self._inside(target, self.kernel.loss.target, "target")
        if not self.from_logits:
            self._inside(input, self.kernel.loss.prediction, "input")
        self._checked = True

    def _inside(self, x: Tensor, domain: Interval, name: str) -> None:
        x = x.detach()
        low, high = (v.item() for v in torch.aminmax(x))
        if low in domain and high in domain:  # NaN lies in no domain
            return
        from lossproof.lower.function import outside_message

        values = x.double().cpu().numpy()
        nan = np.isnan(values)
        if nan.any():
            first = [int(i) for i in np.argwhere(nan)[0]]
            raise LossproofError(
                f"{self.label}: expected {name} without NaN, got {int(nan.sum())} of {values.size} NaN, first at "
                f"{first} (shape {tuple(x.shape)}, {str(x.dtype).removeprefix('torch.')})."
            )
        outside = ~domain.contains(values)
        index = tuple(int(i[0]) for i in outside.nonzero())
        advice_for_logits = " Logits? Leave from_logits=True." if name == "input" else ""
        raise LossproofError(
            outside_message(self.label, name, domain, int(outside.sum()), values[index], index, tuple(x.shape),
                            x.dtype, low, high) + advice_for_logits
        )  # fmt: skip


def _vmapped() -> bool:
    from torch._C import _functorch

    stack = _functorch.get_interpreter_stack() or []
    return any(level.key() == _functorch.TransformType.Vmap for level in stack)


def _one_of(value: Any, options: Any, name: str, label: str) -> Any:
    known = get_args(options)
    if value not in known:
        raise LossproofError(f"{label}: expected {name} one of {', '.join(known)}, got {value!r}; "
                             f"{nearest(str(value), known)}")  # fmt: skip
    return value


def _brief(x: Tensor) -> str:
    return f"shape {tuple(x.shape)}, {str(x.dtype).removeprefix('torch.')}"
