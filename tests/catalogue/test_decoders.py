"""The decoders' declarations, and how a user's text becomes one."""

import json
import pickle
import subprocess
import sys

import pytest

from lossproof.catalogue import CATALOGUE, resolve
from lossproof.catalogue.decoder import Decoder, Head, Setting
from lossproof.catalogue.decoders import DECODERS, decoder_named, find
from lossproof.formula import POSITIVE, Loss, LossproofError


def test_ids_are_those_of_no_loss():
    assert not set(DECODERS) & set(CATALOGUE)
    assert all(made.id == key for key, made in DECODERS.items())


@pytest.mark.parametrize("decoder", DECODERS.values(), ids=lambda d: d.id)
def test_declarations_hold_together(decoder):
    names = {s.name for s in decoder.settings}
    for head in decoder.heads:
        assert head.place == "pixel" or head.place in names
        assert head.lowest in {"", *names}
    assert decoder.formula
    assert decoder.title
    assert all(r.url.startswith(("https://doi.org/", "https://arxiv.org/abs/")) for r in decoder.references)
    assert decoder.references
    assert all(s.takes(s.default) for s in decoder.settings)
    assert decoder.label == decoder.id
    assert pickle.loads(pickle.dumps(decoder)) == decoder


def test_outputs_follow_from_the_settings():
    assert find("gaussian").outputs() == 1
    assert find("gaussian(sigma=pixel)").outputs() == 2
    assert find("gaussian(sigma=0.1)").outputs() == 1
    assert find("student_t(nu=pixel, scale='pixel')").outputs() == 3
    assert find("student_t(nu=4, scale=shared)").outputs() == 1
    assert find("beta_binomial").outputs(256) == 2
    assert find("categorical").outputs(16) == 16


def test_levels_that_are_counted_must_be_given():
    with pytest.raises(
        LossproofError, match="categorical: expected the number of levels.*Give levels, such as 256"
    ):
        find("categorical").outputs()


def test_text_forms():
    assert find(" gaussian( sigma = 0.1,link=sigmoid )").values["sigma"] == 0.1
    assert (
        find("gaussian(sigma='pixel')")
        == find("gaussian").bind(sigma="pixel")
        == find("gaussian", sigma="pixel")
    )
    assert find(find("gaussian"), lowest=-8).label == "gaussian(lowest=-8)"
    assert find("gaussian(lowest=-8)").number("lowest") == -8.0
    assert isinstance(find("mse"), Loss)
    assert isinstance(find("(y - p)**4"), Loss)
    assert find("huber", delta=0.1).label == "huber(delta=0.1)"
    assert find(lambda y, p: (y - p) ** 2).id == "<lambda>"
    assert decoder_named("mse") is None
    assert decoder_named("gaussian(") is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gaussian(sigma=0)", r"expected sigma as a number in \[1e-12, 1e\+12\], shared or pixel, got 0\. sigma is the standard "
                              r"deviation; its default is shared"),
        ("gaussian(sigma=both)", "expected sigma as .* got 'both'"),
        ("gaussian(sigma=[1])", r"expected sigma as .* got '\[1\]'"),
        ("gaussian(sigma=True)", "expected sigma as .* got 'True'"),
        ("gaussian(sgma=1)", "expected a known setting, got 'sgma'; did you mean sigma"),
        ("gaussian(0.1)", "expected NAME=VALUE, got 0.1 in .* It takes sigma: a number"),
        ("gaussian(**a)", "expected NAME=VALUE"),
        ("beta_binomial(n=3)", "expected a known setting, got 'n'; it takes none"),
        ("continuous_bernoulli_density(clip=0.5)", r"expected clip as a number in \[0, 0.5\), got 0.5"),
        ("discretised_logstic", "Among the decoders, did you mean discretised_logistic"),
        ("gaussian(lowest=1e400)", "expected lowest as a number"),
        ("student_t(nu=0)", "expected nu as a number"),
    ],
)  # fmt: skip
def test_bad_text_is_an_error_that_helps(text, said):
    with pytest.raises(LossproofError, match=said):
        find(text)


def test_a_word_is_no_number():
    with pytest.raises(LossproofError, match="gaussian: expected sigma to be a number, got 'shared'"):
        find("gaussian").number("sigma")


def test_other_errors_of_losses_stay_as_they_are():
    with pytest.raises(LossproofError) as caught:
        find("gaussian_of(y, p)")
    assert "decoders" not in str(caught.value)


def test_hash_follows_the_declaration_and_not_titles_or_values():
    made = Decoder(
        "a", "title", "f", "line", (Head("m", "mean"),), (Setting("s", "spread", 1.0, (), POSITIVE),)
    )
    same = Decoder(
        "a", "other title", "f", "line", (Head("m", "the mean"),), (Setting("s", "x", 2.0, (), POSITIVE),)
    )
    assert made.hash == same.hash == made.bind(s=3).hash
    assert made.hash != Decoder("a", "title", "f", "levels", made.heads, made.settings).hash
    assert made.hash != Decoder("a", "title", "f", "line", (Head("m", "mean", 1.0),), made.settings).hash
    assert hash(made) != hash(made.bind(s=3.0))
    assert made.bind(s=3.0).label == "a(s=3)"


def test_the_declarations_are_data_alone():
    code = "import sys, json; import lossproof.catalogue.decoders; print(json.dumps(sorted(sys.modules)))"
    loaded = set(
        json.loads(
            subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        )
    )
    assert not loaded & {"torch", "sympy", "scipy", "pandas"}


@pytest.mark.parametrize(
    "spec", ["gaussian", "gaussian(sigma=0.1)", " beta_binomial", DECODERS["categorical"]], ids=str
)
def test_a_decoder_where_a_loss_is_asked_for(spec):
    with pytest.raises(
        LossproofError, match="expected a loss.y, p. of one prediction, got the decoder .* compare --losses"
    ):
        resolve(spec)


def test_the_loss_near_to_a_decoder_is_named():
    with pytest.raises(LossproofError, match="The loss near to it is mse"):
        resolve("gaussian")
