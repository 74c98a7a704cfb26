"""Paste-ready lines for torch, Keras and JAX."""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Law:
    """What a decoder's criterion is made for: images (channels, height, width), and their number of grey levels."""

    shape: tuple[int, int, int]
    levels: int | None


@dataclass(frozen=True, slots=True)
class Recipe:
    """What to train with: the loss, whether the decoder's last layer is linear in front of a sigmoid, the KL's weight.

    ``beta`` is None for a model without a KL term; ``fix`` is a line of Python that the data needs first. ``law`` is
    there for a decoder, which torch alone has; ``instead`` is what to train with elsewhere.
    """

    loss: str
    from_logits: bool
    beta: float | None
    fix: str = ""
    law: Law | None = None
    instead: "Recipe | None" = None


def snippets(recipe: Recipe) -> dict[str, str]:
    """The lines for each framework.

    >>> print(snippets(Recipe("bce", True, None))["torch"])
    from lossproof.torch import ReconstructionLoss
    <BLANKLINE>
    loss = ReconstructionLoss("bce")  # nats per image: summed over an image, averaged over the batch
    objective = loss(decoder(code), x)  # decoder's last layer: linear; pictures: decoder(code).sigmoid()
    """
    if recipe.law is None:
        return {"torch": _torch(recipe), "keras": _keras(recipe), "jax": _jax(recipe)}
    elsewhere = dict.fromkeys(("keras", "jax"), f"# {recipe.loss} is there for torch only")
    if recipe.instead is not None:
        others = snippets(recipe.instead)
        elsewhere = {
            name: f"{said}; the best of the losses instead:\n{others[name]}"
            for name, said in elsewhere.items()
        }
    return {"torch": _torch_law(recipe, recipe.law), **elsewhere}


_UNIT = "nats per image: summed over an image, averaged over the batch"


def _call(recipe: Recipe) -> str:
    return f'"{recipe.loss}"' + ("" if recipe.from_logits else ", from_logits=False")


def _shown(recipe: Recipe, sigmoid: str) -> str:
    return f"decoder's last layer: linear; pictures: {sigmoid if recipe.from_logits else 'decoder(code)'}"


def _first(recipe: Recipe, *, torch: bool = False) -> list[str]:
    """What the data need before; several constants are one a channel."""
    if not recipe.fix:
        return []
    if "np." not in recipe.fix:
        return [f"{recipe.fix}  # first, once"]
    library, fix = "import numpy as np", recipe.fix
    if torch:
        library, fix = (
            "import torch",
            re.sub(r"np\.reshape\((\[.*?\]), \((.*?)\)\)", r"torch.tensor(\1).reshape(\2)", fix),
        )
    return [library, f"{fix}  # first, once; x is (n, c, h, w)", ""]


def _torch(recipe: Recipe) -> str:
    lines = ["from lossproof.torch import ReconstructionLoss", ""]
    lines += _first(recipe, torch=True)
    lines.append(f"loss = ReconstructionLoss({_call(recipe)})  # {_UNIT}")
    call, shown = "objective = loss(decoder(code), x)", _shown(recipe, "decoder(code).sigmoid()")
    if recipe.beta is None:
        return "\n".join([*lines, f"{call}  # {shown}"])
    return "\n".join([
        *lines,
        "kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).sum(1).mean()  # summed over the code",
        f"{call} + {recipe.beta:.3g} * kl  # {shown}",
    ])  # fmt: skip


def _torch_law(recipe: Recipe, law: Law) -> str:
    levels = "" if law.levels is None else f", levels={law.levels}"
    lines = ["from lossproof.torch.decoders import criterion_for", ""]
    lines += _first(recipe, torch=True)
    lines += [
        f'law = criterion_for("{recipe.loss}", {law.shape}{levels})',
        "# decoder's last layer: law.outputs * channels of x, linear; pictures: law.picture(raw)",
        "# give the optimiser law.parameters.values() too, where there are any",
        "raw = decoder(code)",
        "nats = law.values(x, raw).sum((1, 2, 3)).mean()  # nats per image",
    ]
    if recipe.beta is None:
        return "\n".join([*lines, "objective = nats"])
    return "\n".join([
        *lines,
        "kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).sum(1).mean()  # summed over the code",
        "objective = nats + kl" if recipe.beta == 1 else f"objective = nats + {recipe.beta:.3g} * kl",
    ])  # fmt: skip


def _keras(recipe: Recipe) -> str:
    lines = ["from lossproof.keras import ReconstructionLoss", ""]
    if recipe.beta is not None:
        lines = [
            "import keras",
            *lines,
            "",
            *_SAMPLING.format(beta=f"{recipe.beta:.3g}").splitlines(),
            "",
            "",
        ]
    lines += _first(recipe)
    lines.append(f"loss = ReconstructionLoss({_call(recipe)})  # {_UNIT}")
    shown = _shown(recipe, "keras.ops.sigmoid(decoder(code))")
    return "\n".join([*lines, f'model.compile(optimizer="adam", loss=loss)  # {shown}'])


_SAMPLING = """class Sampling(keras.layers.Layer):  # between encoder and decoder: code = Sampling()(mean, logvar)
    def __init__(self):
        super().__init__()
        self.noise = keras.random.SeedGenerator()

    def call(self, mean, logvar):
        square = mean**2 + keras.ops.exp(logvar) - 1 - logvar
        self.add_loss({beta} * 0.5 * keras.ops.mean(keras.ops.sum(square, axis=1)))  # the KL, summed over the code
        return mean + keras.ops.exp(0.5 * logvar) * keras.random.normal(keras.ops.shape(mean), seed=self.noise)"""


def _jax(recipe: Recipe) -> str:
    lines = ["import jax.numpy as jnp"] if recipe.beta is not None else []
    lines += ["from lossproof.jax import reconstruction_loss", ""]
    lines += _first(recipe)
    lines.append(f"loss = reconstruction_loss({_call(recipe)})  # {_UNIT}")
    call, shown = "loss(decoder(params, code), x)", _shown(recipe, "jax.nn.sigmoid(decoder(params, code))")
    if recipe.beta is None:
        return "\n".join([*lines, "", "def objective(params, code, x):", f"    return {call}  # {shown}"])
    return "\n".join([
        *lines,
        "",
        "def objective(params, code, mean, logvar, x):",
        "    kl = 0.5 * jnp.mean(jnp.sum(mean**2 + jnp.exp(logvar) - 1 - logvar, axis=1))",
        f"    return {call} + {recipe.beta:.3g} * kl  # {shown}",
    ])  # fmt: skip
