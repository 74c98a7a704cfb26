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


def figure(
    name: str,
    panels: Sequence[Mapping[str, Any]],
    folder: Path,
    *,
    columns: int = 2,
    size: tuple[float, float] = (4.2, 3.1),
) -> str:
    """Line plots side by side: of each `lines` (label -> xs, ys), and title, axes' names and scales. The file's name."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    with mpl.rc_context(STYLE):
        rows = -(-len(panels) // columns)
        made, axes = plt.subplots(rows, columns, figsize=(size[0] * columns, size[1] * rows), squeeze=False)
        for ax, panel in zip(axes.flat, panels, strict=True):
            for mark, (label, (xs, ys)) in zip(MARKS * 3, panel["lines"].items(), strict=False):
                ax.plot(xs, ys, marker=mark, markersize=4, linewidth=1.2, label=label)
            ax.set(title=panel.get("title", ""), xlabel=panel["x"], ylabel=panel["y"])
            ax.set_xscale(panel.get("xscale", "linear"))
            ax.set_yscale(panel.get("yscale", "linear"))
            if panel.get("xscale", "linear") == "linear":
                ax.xaxis.get_major_locator().set_params(integer=True)
            if len(panel["lines"]) > 1:
                ax.legend(frameon=False, fontsize=7)
        path = folder / f"{name}.svg"
        made.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
        plt.close(made)
    return path.name
