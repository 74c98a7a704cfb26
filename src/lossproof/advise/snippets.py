"""Paste-ready lines for torch, Keras and JAX."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Recipe:
    """What to train with: the loss, whether the decoder's last layer is linear in front of a sigmoid, the KL's weight.

    ``beta`` is None for a model without a KL term; ``fix`` is a line of Python that the data needs first.
    """

    loss: str
    from_logits: bool
    beta: float | None
    fix: str = ""


def snippets(recipe: Recipe) -> dict[str, str]:
    """The lines for each framework.

    >>> print(snippets(Recipe("bce", True, None))["torch"])
    from lossproof.torch import ReconstructionLoss
    <BLANKLINE>
    loss = ReconstructionLoss("bce")  # nats per image: summed over an image, averaged over the batch
    objective = loss(decoder(code), x)  # decoder's last layer: linear; pictures: decoder(code).sigmoid()
    """
    return {"torch": _torch(recipe), "keras": _keras(recipe), "jax": _jax(recipe)}


_UNIT = "nats per image: summed over an image, averaged over the batch"


def _call(recipe: Recipe) -> str:
    return f'"{recipe.loss}"' + ("" if recipe.from_logits else ", from_logits=False")


def _shown(recipe: Recipe, sigmoid: str) -> str:
    return f"decoder's last layer: linear; pictures: {sigmoid if recipe.from_logits else 'decoder(code)'}"


def _torch(recipe: Recipe) -> str:
    lines = ["from lossproof.torch import ReconstructionLoss", ""]
    lines += [f"{recipe.fix}  # first, once"] if recipe.fix else []
    lines.append(f"loss = ReconstructionLoss({_call(recipe)})  # {_UNIT}")
    call, shown = "objective = loss(decoder(code), x)", _shown(recipe, "decoder(code).sigmoid()")
    if recipe.beta is None:
        return "\n".join([*lines, f"{call}  # {shown}"])
    return "\n".join([
        *lines,
        "kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).sum(1).mean()  # summed over the code",
        f"{call} + {recipe.beta:g} * kl  # {shown}",
    ])  # fmt: skip


def _keras(recipe: Recipe) -> str:
    lines = ["from lossproof.keras import ReconstructionLoss", ""]
    lines += [f"{recipe.fix}  # first, once"] if recipe.fix else []
    lines.append(f"loss = ReconstructionLoss({_call(recipe)})  # {_UNIT}")
    shown = _shown(recipe, "keras.ops.sigmoid(decoder(code))")
    if recipe.beta is None:
        return "\n".join([*lines, f'model.compile(optimizer="adam", loss=loss)  # {shown}'])
    return "\n".join([
        *lines,
        f"# in the sampling layer's call: self.add_loss({recipe.beta:g} * kl), with",
        "# kl = 0.5 * ops.mean(ops.sum(mean**2 + ops.exp(logvar) - 1 - logvar, axis=1))",
        f'model.compile(optimizer="adam", loss=loss)  # {shown}',
    ])  # fmt: skip


def _jax(recipe: Recipe) -> str:
    lines = ["import jax.numpy as jnp", "from lossproof.jax import reconstruction_loss", ""]
    lines += [f"{recipe.fix}  # first, once"] if recipe.fix else []
    lines.append(f"loss = reconstruction_loss({_call(recipe)})  # {_UNIT}")
    call, shown = "loss(decoder(params, code), x)", _shown(recipe, "jax.nn.sigmoid(decoder(params, code))")
    if recipe.beta is None:
        return "\n".join([*lines, "", "def objective(params, code, x):", f"    return {call}  # {shown}"])
    return "\n".join([
        *lines,
        "",
        "def objective(params, code, mean, logvar, x):",
        "    kl = 0.5 * jnp.mean(jnp.sum(mean**2 + jnp.exp(logvar) - 1 - logvar, axis=1))",
        f"    return {call} + {recipe.beta:g} * kl  # {shown}",
    ])  # fmt: skip
