"""Pictures of docs/performance.md, drawn by matplotlib as SVG beside the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

MARKS = "osD^vP*X"
STYLE = {
    "svg.hashsalt": "lossproof",  # the same picture has the same text
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "0.9",
    "figure.constrained_layout.use": True,
}


def figure(name: str, panels: Sequence[Mapping[str, Any]], folder: Path, columns: int = 2) -> str:
    """Line plots side by side: of each `lines` (label -> xs, ys), and title, axes' names and scales. The file's name."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    with mpl.rc_context(STYLE):
        rows = -(-len(panels) // columns)
        made, axes = plt.subplots(rows, columns, figsize=(4.2 * columns, 3.1 * rows), squeeze=False)
        for ax, panel in zip(axes.flat, panels, strict=True):
            for mark, (label, (xs, ys)) in zip(MARKS * 3, panel["lines"].items(), strict=False):
                ax.plot(xs, ys, marker=mark, markersize=4, linewidth=1.2, label=label)
            ax.set(title=panel.get("title", ""), xlabel=panel["x"], ylabel=panel["y"])
            ax.set_xscale(panel.get("xscale", "linear"))
            ax.set_yscale(panel.get("yscale", "linear"))
            if len(panel["lines"]) > 1:
                ax.legend(frameon=False, fontsize=7)
        path = folder / f"{name}.svg"
        made.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
        plt.close(made)
    return path.name


def curves_figure(name: str, curves: Mapping[str, Any], folder: Path) -> str:
    """Test losses after each epoch, over epochs and over seconds."""
    panels = [
        {
            "lines": {label: (range(1, len(c["losses"])), c["losses"][1:]) for label, c in curves.items()},
            "x": "epochs", "y": "test loss, nats per image",
        },
        {
            "lines": {label: (c["seconds"][1:], c["losses"][1:]) for label, c in curves.items()},
            "x": "seconds of training", "y": "test loss, nats per image",
        },
    ]  # fmt: skip
    return figure(name, panels, folder)
