"""The public functions that stand above all rooms: loss, compare with its report, and compile."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from lossproof.lower import LossFunction

if TYPE_CHECKING:
    from lossproof.data import Images
    from lossproof.formula import Loss
    from lossproof.keras import ReconstructionLoss as KerasLoss
    from lossproof.likelihood import Likelihood
    from lossproof.prove import Certificate
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


class StatedLoss(LossFunction):
    """A loss on NumPy arrays that can also be certified and normalised; made by ``lossproof.loss``."""

    def certify(self, **options: Any) -> "Certificate":
        """What can be proved of it: ``lossproof.certify`` of this loss, with its options.

        >>> import lossproof
        >>> line = lossproof.loss("mse").certify(only=("minimum",)).lines["minimum"]
        >>> print(line.statement, "|", type(line.verdict).__name__)
        p = y is a global minimiser of p -> loss(y, p) | Proved
        """
        from lossproof.prove import certify

        return certify(self.definition, **options)

    def likelihood(
        self, temperature: float = 1.0, measure: object = "levels", of: Literal["loss", "excess"] = "loss"
    ) -> "Likelihood":
        """exp(-loss/T)/Z on 256 grey levels, "interval", "line", a number of levels or ``Levels.of(data)``.

        ``of``: the loss itself or its excess over the floor, which give different laws. Raises ``LossproofError`` for
        T <= 0 and for what cannot be normalised.

        >>> import lossproof
        >>> lossproof.loss("mse").likelihood(0.02, "line")  # a Gaussian with sigma = 0.1
        <likelihood exp(-loss/T) of mse, T = 0.02, on the real line>
        """
        from lossproof.likelihood import likelihood

        return likelihood(self.definition, temperature, measure, of)

    def __reduce__(self) -> tuple[Any, ...]:
        return (StatedLoss, (self.definition,))


@lru_cache(maxsize=256)
def _stated(definition: "Loss") -> StatedLoss:
    return StatedLoss(definition)


def loss(spec: object, **params: float) -> StatedLoss:
    """A loss on NumPy arrays: value, gradients, floor, excess, certificate and likelihood.

    ``spec`` is a catalogue id, ``"id(param=...)"``, a formula in y and p, ``"module:function"``, a Python function or
    a ``Loss``. Raises ``LossproofError`` for an unknown name (with the nearest) or a bad formula (with the column).

    >>> loss("(y - p)**2/(p*(1 - p))").value(0.5, 0.25)
    np.float64(0.3333333333333333)
    """
    from lossproof.catalogue import resolve

    return _stated(resolve(spec, **params))


class Compiled:
    """A loss for every framework, from one definition; made by ``lossproof.compile``."""

    def __init__(self, definition: "Loss") -> None:
        self.definition = definition

    def __repr__(self) -> str:
        return f"<compiled loss {self.definition.label}: {self.definition.formula}>"

    @property
    def numpy(self) -> StatedLoss:
        """The loss on NumPy arrays: value, gradients, floor, excess; certificate and likelihood."""
        return _stated(self.definition)

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
