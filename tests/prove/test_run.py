"""The prover's process: limits, what is kept when one is reached, and what the caller keeps."""

import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import flint
import mpmath
import numpy as np
import pytest

import lossproof
from lossproof.formula import LossproofError, Unknown
from lossproof.prove import ask, run
from lossproof.prove.deadline import Late, limited
from lossproof.prove.sections import SECTIONS, STATEMENTS, Section, choose

HEAD = """
from lossproof.formula import Proved, Unknown
from lossproof.prove.problem import Line
def line(key): return Line(key, key, Proved("by hand", "everywhere"))
"""


@pytest.fixture
def sections(tmp_path, monkeypatch):
    """Replace the prover's sections by modules with these texts: key -> body of ``lines``."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def install(**bodies):
        made = []
        for key, body in bodies.items():
            name = f"section_{key}_{tmp_path.name.replace('-', '_')}"
            text = (
                HEAD + "def lines(problem, known, clock):\n" + textwrap.indent(textwrap.dedent(body), "    ")
            )
            (tmp_path / f"{name}.py").write_text(text)
            made.append(Section(name, (key,) if key != "minimum" else ("minimum", "unique")))
        monkeypatch.setattr(ask, "choose", lambda only: tuple(made))

    return install


LATE = 20  # seconds: that it ends is asked here, not how fast a machine is that others use too


def reason(certificate, key):
    verdict = certificate.lines[key].verdict
    assert isinstance(verdict, Unknown)
    return verdict.reason


def children():
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()


def test_a_section_that_hangs_loses_its_own_lines_only(sections):
    sections(
        minimum="yield line('minimum')\nwhile True: pass",
        floor="yield line('floor')",
        proper="import time\nyield line('proper')",
    )
    start = time.monotonic()
    found = lossproof.certify("(y - p)**2", budget=12)
    assert time.monotonic() - start < 12 + LATE
    assert found.holds("minimum") == found.holds("floor") == found.holds("proper") == "holds"
    assert reason(found, "unique") == "time limit of 12 s"


def test_a_hang_inside_a_foreign_call_is_ended_with_its_process(sections):
    # the signal's handler does not run inside this call: the process has to go, and another makes the rest
    sections(
        minimum="""
            import ctypes
            yield line('minimum')
            ctypes.PyDLL(None).sleep(60)
        """,
        floor="assert set(known) == {'minimum'}\nyield line('floor')",
    )
    start = time.monotonic()
    found = lossproof.certify("(y - p)**2", budget=12)
    assert time.monotonic() - start < 12 + LATE
    assert reason(found, "unique") == "time limit of 12 s"
    assert found.holds("minimum") == "holds"
    assert found.holds("floor") == "holds"


def test_a_swallowed_alarm_rings_again(sections):
    sections(
        minimum="""
            while True:
                try:
                    while True: pass
                except Exception:
                    pass
        """,
    )
    start = time.monotonic()
    assert reason(lossproof.certify("(y - p)**2", budget=10), "minimum") == "time limit of 10 s"
    assert time.monotonic() - start < 10 + LATE


def test_the_memory_limit(sections):
    sections(minimum="yield line('minimum')\nx = bytearray(3 << 30)", floor="yield line('floor')")
    found = lossproof.certify("(y - p)**2", memory_mb=800)
    assert found.holds("minimum") == "holds"
    assert reason(found, "unique") == "memory limit of 800 MB"
    assert found.holds("floor") == "holds"


def test_a_prover_that_dies_keeps_what_it_had_said(sections):
    sections(
        minimum="yield line('minimum')\nimport os, signal\nos.kill(os.getpid(), signal.SIGSEGV)",
        floor="raise ArithmeticError('no floor')\nyield",
        proper="import os\nos._exit(7)\nyield",
        convex="yield line('convex')",
    )
    found = lossproof.certify("(y - p)**2", budget=60)  # the process is started three times
    assert reason(found, "unique") == "the prover ended with signal SIGSEGV"
    assert reason(found, "floor") == "the prover ended with ArithmeticError: no floor"
    assert reason(found, "proper") == "the prover ended with exit status 7"
    assert found.holds("minimum") == found.holds("convex") == "holds"


def test_a_line_that_is_not_there_is_unknown(sections):
    sections(minimum="yield line('minimum')")
    found = lossproof.certify("(y - p)**2")
    assert list(found.lines) == ["minimum"]
    assert found.holds("unique") == "unknown"
    assert found.why("unique") == "unique: not in this certificate"


def test_a_section_may_print(sections):
    sections(
        minimum="import os\nprint('{}')\nos.system('echo {}')\nyield line('minimum')\nyield line('unique')"
    )
    assert lossproof.certify("(y - p)**2").holds("unique") == "holds"


def test_the_same_text_twice(sections):
    sections(minimum="yield line('minimum')\nyield Line('unique', str(set('abcdefgh')), Unknown('x'))")
    texts = {lossproof.certify("(y - p)**2").to_json() for _ in range(2)}
    assert len(texts) == 1  # the order of a set of strings would differ


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs /proc")
def test_nothing_is_left_behind(sections, tmp_path):
    sections(
        minimum=f"""
            import subprocess
            made = subprocess.Popen(["sleep", "60"])
            open({str(tmp_path / "pid")!r}, "w").write(str(made.pid))
            yield line('minimum')
            while True: pass
        """
    )
    gc.collect()
    before, threads = children(), threading.active_count()
    files = len(os.listdir("/proc/self/fd"))
    lossproof.certify("(y - p)**2", budget=6)
    assert children() == before
    assert threading.active_count() == threads
    assert len(os.listdir("/proc/self/fd")) == files
    status = Path(f"/proc/{(tmp_path / 'pid').read_text()}/stat")
    assert not status.exists() or status.read_text().split()[2] in "ZX"  # dead; its own parent is gone


def test_ctrl_c_ends_the_prover_and_reaches_the_caller(tmp_path):
    (tmp_path / "slow_section.py").write_text(
        HEAD
        + "import os, pathlib\ndef lines(problem, known, clock):\n"
        + "    pathlib.Path(os.environ['BEGUN']).touch()\n    while True: pass\n    yield\n"
    )
    code = textwrap.dedent("""
        import pathlib, sys, os, threading, signal, time
        import lossproof
        from lossproof.prove import ask
        from lossproof.prove.sections import Section
        ask.choose = lambda only: (Section("slow_section", ("minimum",)),)
        begun = pathlib.Path(os.environ["BEGUN"])

        def interrupt():
            while not begun.exists():
                time.sleep(0.05)
            time.sleep(0.5)  # until the caller waits again
            os.kill(os.getpid(), signal.SIGINT)

        threading.Thread(target=interrupt, daemon=True).start()
        try:
            lossproof.certify("(y - p)**2", budget=60)
        except KeyboardInterrupt:
            print("interrupted", pathlib.Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())
    """)
    env = os.environ | {"PYTHONPATH": str(tmp_path), "BEGUN": str(tmp_path / "begun")}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, env=env, check=False
    )
    assert done.stdout.strip() == "interrupted []", done.stderr


def test_global_state_is_the_callers(sections):
    sections(minimum="import mpmath, flint\nmpmath.mp.dps = 7\nflint.ctx.prec = 9\nyield line('minimum')")

    def state():
        return (
            mpmath.mp.dps, flint.ctx.prec, sys.getrecursionlimit(), signal.getsignal(signal.SIGALRM),
            signal.getsignal(signal.SIGINT), signal.getitimer(signal.ITIMER_REAL), np.geterr(), sys.path[:],
            os.getcwd(), dict(os.environ), sys.get_int_max_str_digits(),
        )  # fmt: skip

    before = state()
    lossproof.certify("(y - p)**2")
    lossproof.certify(lambda y, p: (y - p) ** 2)
    assert state() == before


# ---- what the user gives


def test_a_module_that_loops_for_ever(tmp_path, monkeypatch):
    (tmp_path / "endless_module.py").write_text("def loss(y, p):\n    while True: pass\n")
    monkeypatch.chdir(tmp_path)
    start = time.monotonic()
    with pytest.raises(LossproofError, match=r"endless_module:loss to be read within 1\.5 s.*loop for ever"):
        lossproof.certify("endless_module:loss", budget=1.5)
    assert time.monotonic() - start < 1.5 + LATE


def test_a_module_that_takes_all_memory(tmp_path, monkeypatch):
    (tmp_path / "hungry_module.py").write_text(
        "def loss(y, p):\n    x = bytearray(3 << 30)\n    return y*p\n"
    )
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LossproofError, match="MemoryError|memory limit of 800 MB"):
        lossproof.certify("hungry_module:loss", memory_mb=800)


def test_a_module_that_ends_the_process(tmp_path, monkeypatch):
    (tmp_path / "quitting_module.py").write_text("import os\ndef loss(y, p):\n    os._exit(3)\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LossproofError, match="got the prover's end: the prover ended with exit status 3"):
        lossproof.certify("quitting_module:loss")


def silent(y, p):
    while True:
        pass


def test_a_function_that_loops_for_ever():
    start = time.monotonic()
    with pytest.raises(LossproofError, match="silent to be read within 1 s"):
        lossproof.certify(silent, budget=1)
    assert time.monotonic() - start < 1 + LATE


def test_a_function_that_loops_for_ever_in_a_thread():
    found = []

    def work():
        try:
            lossproof.certify(silent, budget=1)
        except LossproofError as error:
            found.append(str(error))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(5)
    assert not thread.is_alive()
    assert "silent to be read within 1 s" in found[0]


def test_a_deadline_puts_back_the_callers_alarm():
    rung = []
    before = signal.signal(signal.SIGALRM, lambda *_: rung.append(True))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.4)
        with pytest.raises(Late), limited(0.1):
            time.sleep(5)
        assert 0.1 < signal.getitimer(signal.ITIMER_REAL)[0] < 0.35
        time.sleep(0.5)
        assert rung == [True]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_errors_of_the_user_come_back_as_they_are():
    for spec in ("cbe", "log(p) + ", "y + p + huh", "y*p + sqrt(-1 - p**2)"):
        with pytest.raises(LossproofError) as there:
            lossproof.certify(spec)
        with pytest.raises(LossproofError) as here:
            lossproof.certify(spec, in_process=True)
        assert str(there.value) == str(here.value)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("3", "without y and p"),
        ("y**2", "without p"),
        ("y + p - p", "without p"),
        ("y*p*9**9**9**9", "constant below"),
        ("(y - p)**2*1e999", "finite number"),
        ("sqrt(-1)*y*p", "complex"),
        ("0*log(0)*y*p", "complex|finite|formula"),
        ("__import__('os').system('true') + y*p", "known function"),
        ("+".join(f"(y - p)**{i}" for i in range(10_000)), "20000 characters"),
    ],
)
def test_bad_formulas(spec, message):
    start = time.monotonic()
    with pytest.raises(LossproofError, match=message):
        lossproof.certify(spec, budget=5)
    assert time.monotonic() - start < 5 + LATE


@pytest.mark.parametrize("name", ["print", "__class__", "self", "spec"])
def test_parameters_may_be_called_like_builtins(name, sections):
    sections(minimum="yield line('minimum')")
    found = lossproof.certify(f"{name}*(y - p)**2", **{name: 2.5})
    assert found.params == {name: 2.5}


def test_a_very_long_sum_is_answered_within_the_budget():
    terms = "+".join(f"(y-p)**2*{i}" for i in range(1, 1200))
    start = time.monotonic()
    found = lossproof.certify(terms, budget=20, only="minimum")
    assert time.monotonic() - start < 20 + LATE
    assert found.holds("minimum") != "refuted"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budget": 0}, "a budget in seconds above 0, got 0"),
        ({"budget": float("inf")}, "a budget in seconds above 0, got inf"),
        ({"memory_mb": 10}, "memory_mb of 256 or more, got 10"),
        ({"target": "0..1"}, r"text such as '\[0, 1\]'"),
        ({"target": (0, 2)}, r"expected target in \[0, 1\], where bce is defined, got \[0, 2\]"),
        ({"target": 7}, "expected a range such as"),
        ({"only": "minimal"}, "did you mean minimum"),
        ({"symbolic": 3}, "expected symbolic to be True, False, names"),
        ({"symbolic": ["delta"]}, "expected parameters of bce, got 'delta'; it takes none"),
        ({"delta": 1}, "expected a known parameter, got 'delta'"),
        ({"delta": 10**400}, "for delta, got an integer that is too large"),
        ({"delta": float("nan")}, "for delta, got nan"),
        ({"delta": "1"}, "for delta, got '1'"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(LossproofError, match=message):
        lossproof.certify("bce", **options)


def test_symbolic_parameters(sections):
    sections(minimum="yield Line('minimum', ' '.join(map(str, problem.parameters)), Unknown('x'))")

    def of(*args, **options):
        found = lossproof.certify(*args, **options)
        return found.lines["minimum"].statement, dict(found.free), dict(found.params), found.loss

    assert of("barron", symbolic=True) == (
        "alpha c", {"alpha": "(-inf, 2]", "c": "(0, inf)"}, {}, "barron(alpha in (-inf, 2], c in (0, inf))",
    )  # fmt: skip
    assert of("barron", symbolic=True, c=3)[:3] == ("alpha", {"alpha": "(-inf, 2]"}, {"c": 3})
    assert of("barron(c=0.1)", symbolic={"alpha": (-1, 1)})[1:] == (
        {"alpha": "[-1, 1]"}, {"c": 0.1}, "barron(alpha in [-1, 1], c=0.1)",
    )  # fmt: skip
    assert of("abs(y - p)**q", symbolic={"q": "[1, 3]"})[:3] == ("q", {"q": "[1, 3]"}, {})
    assert of("abs(y - p)**q", symbolic=True)[1] == {"q": "(-inf, inf)"}

    def power(y, p, q=2.0, scale=1.5):
        return scale * np.abs(y - p) ** q

    statement, free, params, label = of(power, symbolic={"q": "(0, 4]"})
    assert (statement, free, params, label) == ("q", {"q": "(0, 4]"}, {}, "power(q in (0, 4])")
    assert of(power, symbolic=True, scale=1)[1] == {"q": "(-inf, inf)"}
    with pytest.raises(LossproofError, match="a value for c or c left symbolic, got both"):
        of("barron", symbolic=["c"], c=3)
    with pytest.raises(LossproofError, match=r"expected alpha within \(-inf, 2\], got \[0, 3\]"):
        of("barron", symbolic={"alpha": (0, 3)})


def test_the_agreement_of_a_traced_function_is_recorded(sections):
    sections(minimum="yield line('minimum')")
    found = lossproof.certify(lambda y, p: np.cosh(y - p) - 1)
    assert found.agreement["points"] == 2024
    assert 0 <= found.agreement["disagreement"] < 1e-12
    assert lossproof.certify("(y - p)**2").agreement is None


def test_decimals_are_read_as_asked(sections):
    sections(minimum="yield Line('minimum', str(problem.expr.subs({'y': 1, 'p': 0})), Unknown('x'))")
    assert lossproof.certify("0.1*y*(1-p)", decimal=True).constants == "decimal"
    # 0.1 as the binary number it is
    assert lossproof.certify("0.1*y*(1-p)").constants == "binary"


def test_every_section_states_its_lines():
    keys = [key for section in SECTIONS for key in section.keys]
    assert len(keys) == len(set(keys))
    assert set(keys) <= set(STATEMENTS)
    made = set()
    for section in SECTIONS:
        assert {k for k in section.needs if k in keys} <= made, "a section comes after those it needs"
        made |= set(section.keys)
    assert choose(None) == SECTIONS


def test_a_look_at_the_parts_that_hangs_ends_in_time(monkeypatch):
    """It comes before all sections, and has a share of the budget as they have."""
    monkeypatch.setattr("lossproof.prove.cancelled.forgotten", lambda problem: time.sleep(LATE))
    request = {"spec": "(y - p)**2", "params": {}, "symbolic": {}, "decimal": False, "target": None, "prediction": None,
               "sections": ["a", "b"], "known": {}, "seconds": 0.5}  # fmt: skip
    before, start = signal.getsignal(signal.SIGALRM), time.monotonic()
    try:
        said = list(run.messages(request, alarm=True))
    finally:
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - start < LATE / 2
    assert [m["reason"] for m in said if "passed" in m] == [
        "out of time while its divisors, logarithms and roots were looked at"
    ] * 2
