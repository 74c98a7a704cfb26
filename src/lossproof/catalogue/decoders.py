"""The decoders: laws with several parameters per pixel, as data, and how a user's text becomes a loss or a decoder."""

import ast
import difflib
import math
import re
from typing import Any

from lossproof.catalogue.decoder import Decoder, Head, Setting, Value
from lossproof.formula import Interval, Loss, LossproofError, Reference
from lossproof.formula.link import LINKS
from lossproof.formula.syntax import syntax

# float32 holds ((y - m)/s)**2 and its slopes for scales of that size and m up to 1000
_LOGS = Interval(-30, 30)
_SCALES = Interval(1e-12, 1e12)
_NUS = Interval(1e-3, math.inf, high_open=True)
_LINK = Setting("link", "map from the model's output to the location", "identity", tuple(LINKS))
_SIGMA = Setting("sigma", "standard deviation", "shared", ("shared", "pixel"), _SCALES)
_SIGMA_VAE = Reference("Rybkin, Daniilidis and Levine, Simple and effective VAE training with calibrated decoders, "
                       "ICML 2021", "https://arxiv.org/abs/2006.13202")  # fmt: skip


def _scale(name: str, lowest: float) -> Setting:
    return Setting("lowest", f"soft lower bound of log {name}", lowest, (), _LOGS)


GAUSSIAN = Decoder(
    id="gaussian",
    title="Gaussian",
    formula="exp(-((y - m)/sigma)**2/2)/(sigma*sqrt(2*pi)), m = link(location), sigma = exp(log_sigma)",
    measure="line",
    heads=(
        Head("location", "mean, before the link"),
        Head("log_sigma", "log of the standard deviation", -1.2, "sigma", "lowest"),
    ),
    settings=(_SIGMA, _LINK, _scale("sigma", -6.0)),
    references=(_SIGMA_VAE,),
    note="A density: its likelihood has no upper bound as sigma falls, so log sigma is bounded. The best shared sigma "
         "is the root of the mean squared error.",
)  # fmt: skip

DISCRETISED_GAUSSIAN = Decoder(
    id="discretised_gaussian",
    title="Gaussian on grey levels",
    formula="Phi((y + h - m)/sigma) - Phi((y - h - m)/sigma), the tails in the first and the last level; "
            "m = link(location), sigma = exp(log_sigma)",
    measure="levels",
    heads=GAUSSIAN.heads,
    settings=(_SIGMA, _LINK, _scale("sigma", -7.0)),
    references=(
        _SIGMA_VAE,
        Reference("Ho, Jain and Abbeel, Denoising diffusion probabilistic models, NeurIPS 2020, section 3.3",
                  "https://arxiv.org/abs/2006.11239"),
    ),
)  # fmt: skip

DISCRETISED_LOGISTIC = Decoder(
    id="discretised_logistic",
    title="discretised logistic",
    formula="sigmoid((y + h - m)/s) - sigmoid((y - h - m)/s), the tails in the first and the last level; "
            "m = link(location), s = exp(log_scale)",
    measure="levels",
    heads=(
        Head("location", "location, before the link"),
        Head("log_scale", "log of the scale", -2.0, "scale", "lowest"),
    ),
    settings=(
        Setting("scale", "scale", "pixel", ("shared", "pixel"), _SCALES),
        _LINK,
        _scale("scale", round(-7 - math.log(2), 4)),  # PixelCNN++ has -7 for grey values in [-1, 1]
    ),
    references=(
        Reference("Salimans, Karpathy, Chen and Kingma, PixelCNN++, ICLR 2017", "https://arxiv.org/abs/1701.05517"),
        Reference("Kingma et al., Improving variational inference with inverse autoregressive flow, NeurIPS 2016",
                  "https://arxiv.org/abs/1606.04934"),
    ),
    note="With the tails its mass sums to 1; without them, as some code has it, it does not.",
)  # fmt: skip

BETA_BINOMIAL = Decoder(
    id="beta_binomial",
    title="beta-binomial",
    formula="binomial(n, k)*B(k + alpha, n - k + beta)/B(alpha, beta), y = k/n, alpha = exp(log_alpha), "
            "beta = exp(log_beta)",
    measure="levels",
    heads=(Head("log_alpha", "log of alpha"), Head("log_beta", "log of beta")),
    references=(
        Reference("Townsend, Bird and Barber, Practical lossless compression with latent variables using bits back "
                  "coding, ICLR 2019", "https://arxiv.org/abs/1901.04866"),
    ),
    note="Level k inside has at most about the binomial's mass: no less than 4.32 bits at k = 128 of 0 to 255.",
)  # fmt: skip

STUDENT_T = Decoder(
    id="student_t",
    title="Student's t",
    formula="gamma((nu + 1)/2)/(gamma(nu/2)*sqrt(pi*nu)*s)*(1 + ((y - m)/s)**2/nu)**(-(nu + 1)/2), "
            "m = link(location), s = exp(log_scale), nu = exp(log_nu)",
    measure="line",
    heads=(
        Head("location", "location, before the link"),
        Head("log_scale", "log of the scale", -1.6, "scale", "lowest"),
        Head("log_nu", "log of the degrees of freedom", 1.6, "nu", "lowest_nu"),
    ),
    settings=(
        Setting("scale", "scale", "pixel", ("shared", "pixel"), _SCALES),
        Setting("nu", "degrees of freedom", "shared", ("shared", "pixel"), _NUS),
        _LINK,
        _scale("scale", -6.0),
        Setting("lowest_nu", "soft lower bound of log nu", 0.0, (), Interval(-6, 30)),
    ),
    references=(
        Reference("Takahashi et al., Student-t variational autoencoder for robust density estimation, IJCAI 2018",
                  "https://doi.org/10.24963/ijcai.2018/374"),
    ),
    note="A density without upper bound as the scale falls, so log scale is bounded; nu > 1, so that it has a mean.",
)  # fmt: skip

DISCRETISED_STUDENT_T = Decoder(
    id="discretised_student_t",
    title="Student's t on grey levels",
    formula="F((y + h - m)/s) - F((y - h - m)/s), F the distribution function of Student's t with nu degrees of freedom, "
            "the tails in the first and the last level; m = link(location), s = exp(log_scale), nu = exp(log_nu)",
    measure="levels",
    heads=(
        Head("location", "location, before the link"),
        Head("log_scale", "log of the scale", -2.0, "scale", "lowest"),
        STUDENT_T.heads[2],
    ),
    settings=(
        Setting("scale", "scale", "pixel", ("shared", "pixel"), _SCALES),
        Setting("nu", "degrees of freedom", "shared", ("shared",), Interval(0.1, 1e3)),
        _LINK,
        _scale("scale", -7.0),
        STUDENT_T.settings[4],
    ),
    references=STUDENT_T.references,
    note="With the tails its mass sums to 1. One nu for all pixels: the distribution function is tabulated for it.",
)  # fmt: skip

CATEGORICAL = Decoder(
    id="categorical",
    title="categorical over the grey levels",
    formula="softmax(logits)[k], k the index of the level y",
    measure="levels",
    heads=(Head("logits", "one number a level", count="levels"),),
    references=(
        Reference("van den Oord, Kalchbrenner and Kavukcuoglu, Pixel recurrent neural networks, ICML 2016",
                  "https://arxiv.org/abs/1601.06759"),
    ),
    note="It knows no order of the levels, and needs an output for each.",
)  # fmt: skip

CONTINUOUS_BERNOULLI = Decoder(
    id="continuous_bernoulli_density",
    title="continuous Bernoulli in its natural parameter",
    formula="exp(eta*y)*eta/(exp(eta) - 1); with clip = c > 0, eta is kept inside log(c/(1 - c)) and log((1 - c)/c)",
    measure="interval",
    heads=(Head("eta", "natural parameter, the logit of lambda"),),
    settings=(Setting("clip", "clip of lambda to [clip, 1 - clip]", 0.0, (), Interval(0, 0.5, high_open=True)),),
    references=(
        Reference("Loaiza-Ganem and Cunningham, The continuous Bernoulli, NeurIPS 2019",
                  "https://arxiv.org/abs/1907.06845"),
    ),
    note="The paper's code clips lambda at 1e-4, which bounds what any decoder can reach; clip=0 does not clip.",
)  # fmt: skip

DECODERS: dict[str, Decoder] = {
    made.id: made
    for made in (GAUSSIAN, DISCRETISED_GAUSSIAN, DISCRETISED_LOGISTIC, BETA_BINOMIAL, STUDENT_T,
                 DISCRETISED_STUDENT_T, CATEGORICAL, CONTINUOUS_BERNOULLI)
}  # fmt: skip


def find(spec: object, **params: Any) -> Loss | Decoder:
    """The loss or the decoder that a user means: an id, ``id(setting=value, ...)``, or what ``resolve`` takes for a loss.

    Raises ``LossproofError`` with the nearest names for an unknown id, and for settings that a decoder does not take.

    >>> find("gaussian(sigma=0.1, link=sigmoid)").label, find("huber(delta=0.1)").label
    ('gaussian(sigma=0.1, link=sigmoid)', 'huber(delta=0.1)')
    >>> find("gausian")
    Traceback (most recent call last):
        ...
    lossproof.formula.errors.LossproofError: loss: expected a catalogue id, a formula in y and p, or 'module:function',
    got 'gausian'; ... Among the decoders, did you mean gaussian, discretised_gaussian?
    """
    from lossproof.catalogue import resolve

    if isinstance(spec, Decoder):
        return spec.bind(**params) if params else spec
    named = decoder_named(spec)
    if named is not None:
        return named.bind(**params) if params else named
    try:
        return resolve(spec, **params)
    except LossproofError as error:
        head = re.match(r"\s*([A-Za-z_]\w*)\s*(\(|$)", spec) if isinstance(spec, str) else None
        close = difflib.get_close_matches(head[1].lower(), DECODERS, n=3, cutoff=0.5) if head else []
        if not close or "catalogue id" not in str(error):
            raise
        raise LossproofError(f"{error} Among the decoders, did you mean {', '.join(close)}?") from None


def decoder_named(spec: object) -> Decoder | None:
    """The decoder that a text names, ``id`` or ``id(setting=value, ...)``; None for anything else, such as a loss.

    Raises ``LossproofError`` for values that the decoder does not take.

    >>> decoder_named("bce") is None, decoder_named("beta_binomial").label
    (True, 'beta_binomial')
    """
    if not isinstance(spec, str):
        return None
    try:
        node = syntax(spec.strip()).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    if isinstance(node, ast.Name) and node.id in DECODERS:
        return DECODERS[node.id]
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in DECODERS):
        return None
    decoder = DECODERS[node.func.id]
    takes = "; ".join(f"{s.name}: {s.choices}" for s in decoder.settings) or "no settings"
    if node.args or any(word.arg is None for word in node.keywords):
        raise LossproofError(
            f"{decoder.id}: expected NAME=VALUE, got {', '.join(ast.unparse(a) for a in node.args) or '**'} in "
            f"{spec!r}. It takes {takes}."
        )
    return decoder.bind(**{str(word.arg): _value(word.value) for word in node.keywords})


def _value(node: ast.expr) -> Value:
    """A number, a quoted word or a bare word; any other text as it stands, for the decoder to refuse."""
    if isinstance(node, ast.Name):
        return node.id
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError):
        return ast.unparse(node)
    usable = isinstance(value, int | float | str) and not isinstance(value, bool)
    return value if usable else ast.unparse(node)


__all__ = ["DECODERS", "decoder_named", "find"]
