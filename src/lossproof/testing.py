"""For the users' own tests: fail where a loss does not hold what it should."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lossproof.prove import Certificate


def assert_certified(loss: object, *requirements: str, budget: float = 10, **options: Any) -> "Certificate":
    """Raise ``AssertionError`` unless every requirement is proved or certified; an unknown one fails too.

    ``requirements`` are those of ``lossproof certify --require`` ("minimum" if none is given): minimum, unique,
    floor, mean, median, proper, convex, convex-logits, lipschitz, alive, and more. ``loss``, ``budget`` in seconds
    and ``options`` are those of ``lossproof.certify``. Returns the certificate.

    >>> assert_certified("(y - p)**2", "no-such-line")
    Traceback (most recent call last):
        ...
    lossproof.formula.errors.LossproofError: certificate: expected a requirement, got 'no-such-line'; ...
    """
    from lossproof.prove import certify
    from lossproof.prove.certificate import requirement_line

    asked = requirements or ("minimum",)
    keys = [requirement_line(name) for name in asked]
    certificate = certify(loss, budget=budget, **{"only": keys, **options})
    answers = {name: certificate.holds(name) for name in asked}
    failed = [name for name, answer in answers.items() if answer != "holds"]
    if failed:
        rows = [f"  {name}: {answers[name]} - {certificate.why(name)}" for name in failed]
        raise AssertionError(
            f"{certificate.loss}: expected {', '.join(asked)} to hold for {certificate.domain}:\n"
            + "\n".join(rows)
        )
    return certificate
