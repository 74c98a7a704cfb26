"""A Loss as plain data and back, so that a saved model carries the whole definition of its loss."""

from collections.abc import Mapping
from typing import Any

from lossproof.formula import Interval, Loss, LossproofError, Param, Reference


def to_config(loss: Loss) -> dict[str, Any]:
    """The definition with its parameter values, in types that JSON has.

    >>> from lossproof.catalogue import resolve
    >>> to_config(resolve("huber(delta=0.1)"))["values"]
    {'delta': 0.1}
    """
    return {
        "id": loss.id,
        "title": loss.title,
        "formula": loss.formula,
        "target": _interval(loss.target),
        "prediction": _interval(loss.prediction),
        "params": [
            {"name": p.name, "interval": _interval(p.interval), "default": p.default, "title": p.title}
            for p in loss.params
        ],
        "references": [{"text": r.text, "url": r.url} for r in loss.references],
        "minimum": loss.minimum,
        "minimiser": loss.minimiser,
        "note": loss.note,
        "values": dict(loss.values),
    }


def from_config(config: Mapping[str, Any]) -> Loss:
    """The Loss that ``to_config`` wrote. Raises ``LossproofError`` for anything else.

    >>> from lossproof.catalogue import resolve
    >>> loss = resolve("(y - p)**4")
    >>> from_config(to_config(loss)) == loss
    True
    """
    try:
        return Loss(
            id=config["id"],
            title=config["title"],
            formula=config["formula"],
            target=_back(config["target"]),
            prediction=_back(config["prediction"]),
            params=tuple(
                Param(p["name"], _back(p["interval"]), p["default"], p["title"]) for p in config["params"]
            ),
            references=tuple(Reference(r["text"], r["url"]) for r in config["references"]),
            minimum=config["minimum"],
            minimiser=config["minimiser"],
            note=config["note"],
            values=dict(config["values"]),
        )
    except (KeyError, TypeError) as error:
        raise LossproofError(
            f"loss: expected the configuration of a lossproof loss, got one without {error}. "
            "Save it again with the lossproof that made it."
        ) from error


def _interval(interval: Interval) -> dict[str, Any]:
    # an infinite end as text: JSON has no infinity
    return {"low": repr(float(interval.low)), "high": repr(float(interval.high)),
            "low_open": interval.low_open, "high_open": interval.high_open}  # fmt: skip


def _back(config: Mapping[str, Any]) -> Interval:
    return Interval(float(config["low"]), float(config["high"]), config["low_open"], config["high_open"])
