"""Formula strings: what is read, and how what is not is refused."""

import numpy as np
import pytest
import scipy.special as sp
import sympy

from lossproof.catalogue import CATALOGUE, resolve
from lossproof.formula import LossproofError
from lossproof.formula.conventions import zero_log_zero
from lossproof.formula.functions import NAMES, derivative, to_elementary
from lossproof.formula.parse import free_names, number, parse
from lossproof.formula.symbols import P, Y
from lossproof.formula.unparse import unparse
from lossproof.lower import function
from lossproof.lower.oracle import evaluate

# every function name of the grammar, against numpy's and scipy's own
REFERENCE = {
    "log": np.log, "log1p": np.log1p, "log2": np.log2, "exp": np.exp, "expm1": np.expm1, "sqrt": np.sqrt,
    "abs": np.abs, "sign": np.sign, "sin": np.sin, "cos": np.cos, "tan": np.tan, "arctan": np.arctan,
    "sinh": np.sinh, "cosh": np.cosh, "tanh": np.tanh, "arcsinh": np.arcsinh, "arctanh": np.arctanh,
    "maximum": np.maximum, "minimum": np.minimum, "clip": np.clip, "where": None, "xlogy": sp.xlogy,
    "xlog1py": sp.xlog1py, "sigmoid": sp.expit, "softplus": lambda x: np.logaddexp(0, x), "logaddexp": np.logaddexp,
    "logcosh": lambda x: np.log(np.cosh(x)), "gammaln": sp.gammaln, "digamma": sp.digamma, "erf": sp.erf,
    "polygamma": sp.polygamma,
}  # fmt: skip


def arguments(name):
    """Of a call that has a value everywhere inside, as text and as a function of numbers."""
    if name == "polygamma":  # its order is a constant
        return "2, p", lambda y, p: (2, p)
    count = NAMES[name][1]
    return ("y", "y, p", "y, p, 9")[count - 1], lambda y, p: (y, p, 9)[:count]


def test_the_grammar_has_the_names_it_promises():
    assert set(NAMES) == set(REFERENCE)


@pytest.mark.parametrize("name", sorted(set(REFERENCE) - {"where"}))
def test_a_function_means_what_numpy_and_scipy_mean(name):
    text, numbers = arguments(name)
    expr = parse(f"{name}({text})")
    for y, p in ((0.3, 0.7), (0.9, 0.2), (0.5, 0.5)):
        expected = REFERENCE[name](*numbers(y, p))
        assert float(evaluate(expr, {Y: y, P: p})) == pytest.approx(float(expected), rel=1e-13)
        assert float(to_elementary(expr).evalf(30, subs={Y: y, P: p})) == pytest.approx(
            float(expected), rel=1e-13
        )


@pytest.mark.parametrize("name", sorted(set(REFERENCE) - {"where", "sign"}))
def test_the_derivative_is_a_derivative(name):
    for symbol, at in ((Y, {Y: 0.3, P: 0.7}), (P, {Y: 0.4, P: 0.6})):
        expr = parse(f"{name}({arguments(name)[0]})")
        if not expr.has(symbol):
            continue
        up, down = dict(at), dict(at)
        up[symbol] += 1e-6
        down[symbol] -= 1e-6
        numeric = (evaluate(expr, up) - evaluate(expr, down)) / 2e-6
        assert float(evaluate(derivative(expr, symbol), at)) == pytest.approx(
            float(numeric), rel=1e-6, abs=1e-9
        )


def test_where_chains_and_pi():
    expr = parse("where(0.25 < y <= p, pi*y, -1)")
    assert float(evaluate(expr, {Y: 0.5, P: 0.75})) == pytest.approx(np.pi / 2)
    assert float(evaluate(expr, {Y: 0.2, P: 0.75})) == -1


def test_floats_are_the_binary_numbers_they_stand_for():
    assert number(0.1) == sympy.Rational(3602879701896397, 36028797018963968)
    assert number(0.5) == sympy.Rational(1, 2)


def test_a_constant_where_does_not_read_the_dead_branch():
    assert parse("where(a == 0, y, p/a)", params=["a"], values={"a": 0.0}) == Y


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a formula in y and p, got ''"),
        ("(y - p", r"expected one expression, got '\(y - p': .*column"),
        ("y +", "expected one expression"),
        ("y; p", "expected one expression"),
        (
            "__import__('os').system('true')",
            "expected a known function, got a call of an attribute at column 1",
        ),
        ("eval(y)", "expected a known function, got 'eval' at column 1"),
        ("open('x')", "expected a known function, got 'open'"),
        ("y.real", "expected arithmetic, got an attribute"),
        ("lambda: y", "expected arithmetic, got a lambda"),
        ("[y for y in p]", "got a comprehension"),
        ("y if p else 1", "got if ... else"),
        ("'a' + y", "expected a real number, got 'a'"),
        ("True*y", "expected a real number, got True"),
        ("1j*y", "expected a real number, got 1j"),
        ("y // p", r"expected one of \+ - \* / \*\*, got FloorDiv"),
        ("y @ p", "got MatMult"),
        ("y < p", "a comparison only as the first argument of where"),
        ("where(y, p, 1)", "expected a comparison as the first argument of where"),
        ("where(y in p, p, 1)", "expected one of < <= > >= == !="),
        ("log(y, p)", r"expected 1 positional argument\(s\) for log, got 2"),
        ("log(x=y)", r"expected 1 positional argument\(s\) for log"),
        ("log", r"expected log\(...\), got the bare name"),
        ("y - q", "expected one of y, p, got 'q'.*--param delta=0.1"),
        ("logg(y) - p", "did you mean log"),
        ("9**9**9**9 + y*p", r"expected a constant below 2\*\*4096"),
        ("y/0 + p", "expected a divisor other than 0"),
        ("1e999*y + p", "expected a finite number"),
        ("(" * 300 + "y" + ")" * 300, "formula: expected"),
        ("+".join("y" * 6000), "too long or too deeply nested"),
        ("-" * 500 + "y", "at most 200 nested|expected one expression"),
        ("y" * 30_000, "at most 20000 characters"),
    ],
)
def test_a_bad_formula_is_refused_with_the_place(text, message):
    with pytest.raises(LossproofError, match=message):
        parse(text)


@pytest.mark.parametrize("loss", CATALOGUE.values(), ids=lambda loss: loss.id)
def test_a_formula_survives_the_way_there_and_back(loss):
    expr = loss.expression()
    again = parse(unparse(expr))
    for y, p in ((0.25, 0.75), (0.5, 0.125), (0.9, 0.9)):
        at = {Y: sympy.Rational(y), P: sympy.Rational(p)}
        difference = to_elementary(expr - again).subs(at).evalf(40)
        assert abs(difference) < 1e-30


@pytest.mark.parametrize(
    ("spec", "params", "message"),
    [
        ("bec", {}, "expected a catalogue id.*did you mean bce"),
        ("hubr(delta=0.1)", {}, r"got 'hubr\(delta=0.1\)'; did you mean huber"),
        ("BCE", {}, "got 'BCE'; did you mean bce"),
        ("binary_crossentropy", {}, "did you mean bce"),
        ("l1", {}, "did you mean mae"),
        (
            "huber(delta=nan)",
            {},
            "huber: expected a finite number for delta, got delta=nan .*It takes delta=1",
        ),
        ("huber(delta=1e999)", {}, "huber: expected a finite number for delta"),
        ("huber(delta)", {}, r"huber: expected NAME=NUMBER, got delta in 'huber\(delta\)'"),
        ("mse(1)", {}, "mse: expected NAME=NUMBER, got 1 .*It takes no parameters"),
        ("huber(delta=-1)", {}, r"huber: expected delta in \(0, inf\), got -1"),
        ("huber(delta='a')", {}, "expected a finite number for delta"),
        ("huber(width=1)", {}, "expected a known parameter, got 'width'; did you mean|known: delta"),
        ("mse(a=1)", {}, "mse: expected a known parameter, got 'a'; it takes none"),
        ("y**2", {}, r"without p"),
        ("p**2", {}, r"without y"),
        ("abs(y - p)**q", {}, "got 'q'"),
        ("abs(y - p)", {"q": 2.0}, "expected parameters that occur"),
        ("", {}, "expected a catalogue id"),
        (3, {}, "expected a catalogue id"),
    ],
)
def test_resolving_a_wrong_loss_says_what_is_near(spec, params, message):
    with pytest.raises(LossproofError, match=message):
        resolve(spec, **params)


def test_parameters_by_call_by_keyword_and_by_binding_agree():
    by_call, by_keyword = resolve("huber(delta=0.1)"), resolve("huber", delta=0.1)
    assert by_call == by_keyword == CATALOGUE["huber"].bind(delta=0.1)
    assert by_call.label == "huber(delta=0.1)"
    assert function(by_call).value(0.0, 1.0) == pytest.approx(0.1 * (1 - 0.05))
    own = resolve("abs(y - p)**q", q=1.5)
    assert function(own).value(0.0, 0.25) == pytest.approx(0.125)


def test_a_loss_survives_pickling():
    import pickle

    loss = resolve("huber(delta=0.1)")
    assert pickle.loads(pickle.dumps(loss)) == loss
    assert pickle.loads(pickle.dumps(loss)).values["delta"] == 0.1


@pytest.mark.parametrize(
    ("name", "reason"),
    [("z", "do not use for something else"), ("math", "do not use for something else"),
     ("function", "do not use for something else"), ("sigmoid", "that is no function's")],
)  # fmt: skip
def test_a_parameter_may_not_hide_what_formulas_and_kernels_use(name, reason):
    with pytest.raises(LossproofError, match=f"{reason}, got '{name}'"):
        resolve(f"abs(y - p)**{name}", **{name: 2.0})


@pytest.mark.parametrize("order", ["1/2", "-1", "51", "y", "p"])
def test_the_order_of_polygamma_is_a_whole_number(order):
    with pytest.raises(
        LossproofError, match="expected a whole number from 0 to 50 as polygamma's order, got"
    ):
        parse(f"polygamma({order}, p)")


@pytest.mark.parametrize(
    "text", ["polygamma(2, 1)*y + p", "p**polygamma(4, 1)", "polygamma(1, 1 + y) + polygamma(0, p)"]
)
def test_constants_that_sympy_makes_of_polygamma_have_a_way_back(text):
    assert parse(unparse(parse(text))) == parse(text)  # polygamma(2, 1) is -2*zeta(3)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("y*log(y/p)", "xlogy(y, y/p)"),
        ("-2*y*log(p/y)", "-2*xlogy(y, p/y)"),
        ("(1 - y)*log1p(-y)", "xlog1py(1 - y, -y)"),
        ("y*log2(y)", "xlogy(y, y)/log(2)"),
        ("p*(log(p) - log(y)) + y", "xlogy(p, p) - p*log(y) + y"),
        ("y*log(p)", "y*log(p)"),
    ],
)
def test_0_log_0_is_0_in_formulas_as_people_write_them(text, expected):
    assert zero_log_zero(parse(text)) == parse(expected)


def test_formulas_are_read_by_several_threads_at_once():
    """Python 3.11 counts the depth of all threads' trees as one, and the collector may switch threads in the middle."""
    import gc
    import threading
    import time

    class Switching:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            time.sleep(0)

    errors = []

    def read():
        try:
            for _ in range(1000):
                for _ in range(3):
                    Switching()
                free_names(
                    "where(abs(y - p) <= a, (y - p)**2/2, a*abs(y - p) - a**2/2) + (1 + (2 + (3 + (4 + p))))"
                )
        except BaseException as error:  # a SystemError
            errors.append(error)

    before = gc.get_threshold()
    gc.set_threshold(3)
    try:
        threads = [threading.Thread(target=read) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        gc.set_threshold(*before)
    assert errors == []
