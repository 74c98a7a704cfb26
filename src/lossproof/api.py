"""The two public functions that stand above all rooms: compare, with its report, and compile."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lossproof.data import Images
    from lossproof.formula import Loss
    from lossproof.keras import ReconstructionLoss as KerasLoss
    from lossproof.lower import LossFunction
    from lossproof.torch import ReconstructionLoss as TorchLoss
    from lossproof.train import Comparison


def compare(
    data: "str | Images",
    losses: "Sequence[str | Loss | Callable[..., Any]]" = ("bce", "mse", "mae", "logcosh"),
    **options: Any,
) -> "Comparison":
    """Train one model under several losses from the same weights, batches and noise; write an HTML report.

    ``options`` are those of ``lossproof compare`` and of ``lossproof.train.compare``: model, latent, hidden, epochs,
    batch_size, lr, beta, seeds, device, out, resume, progress, load_options. Returns a ``Comparison`` with ``table``
    (one long DataFrame; losses in nats per image), ``directory``, ``report``, ``events``, ``summary``. Raises
    ``LossproofError`` for a wrong option, an unknown loss, or data that a loss does not allow.

    >>> import tempfile, lossproof
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     run = lossproof.compare("digits", ("bce", "mse"), model="ae", epochs=1, seeds=1, out=folder, progress=False)
    ...     run.report.name
    'report.html'
    """
    from lossproof.report import write
    from lossproof.train import compare as train_and_measure

    return train_and_measure(data, losses, **{"report": write, **options})


class Compiled:
    """A loss for every framework, from one definition; made by ``lossproof.compile``."""

    def __init__(self, definition: "Loss") -> None:
        self.definition = definition

    def __repr__(self) -> str:
        return f"<compiled loss {self.definition.label}: {self.definition.formula}>"

    @property
    def numpy(self) -> "LossFunction":
        """The loss on NumPy arrays: value, gradients, floor, excess."""
        from lossproof.lower import function

        return function(self.definition)

    def torch(self, **options: Any) -> "TorchLoss":
        """A ``lossproof.torch.ReconstructionLoss`` with these options."""
        from lossproof.torch import ReconstructionLoss

        return ReconstructionLoss(self.definition, **options)

    def keras(self, **options: Any) -> "KerasLoss":
        """A ``lossproof.keras.ReconstructionLoss`` with these options."""
        from lossproof.keras import ReconstructionLoss

        return ReconstructionLoss(self.definition, **options)

    def jax(self, **options: Any) -> Callable[..., Any]:
        """``lossproof.jax.loss`` of this loss with these options."""
        from lossproof.jax import loss

        return loss(self.definition, **options)

    def source(self, target: str = "torch", *, naive: bool = False) -> str:
        """Paste-ready source for torch, keras, jax, numpy, javascript, mpmath or latex, parameters as keywords."""
        if target == "latex":
            from lossproof.lower.latex import latex_source

            return latex_source(self.definition)
        from lossproof.lower.source import source

        return source(self.definition, target, naive=naive).text()


def compile(loss: object, **params: float) -> Compiled:
    """A loss for every framework from a formula, a plain Python function, a catalogue id or a ``Loss``.

    Values, gradients and floors are derived and rewritten to be stable behind a sigmoid; tracebacks show the
    generated source. Raises ``LossproofError`` for what cannot be read or traced. When rewriting takes over 10
    seconds, a warning says so and the plain form is used.

    >>> import lossproof
    >>> chi2 = lossproof.compile("(y - p)**2/(p*(1 - p))")
    >>> chi2.numpy.value_logits([0.0, 1.0], [-1e4, 1e4]).tolist()
    [0.0, 0.0]
    """
    from lossproof.catalogue import resolve

    return Compiled(resolve(loss, **params))
