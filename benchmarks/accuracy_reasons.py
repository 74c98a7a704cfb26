"""Why a cell of docs/accuracy.md misses the goal; each reason was found by measurement and is printed beside its number.

A reason without a cell that misses the goal, or such a cell without a reason, turns tests/test_accuracy_page.py red.
"""

_HALVED = (
    "q/2 of q = sigmoid(-17), the smallest number of float16, is 0, so that 1/2 - y/2 + q/2 is 0 and its log infinite, "
    "while q itself is not 0; bfloat16 has the exponents of float32, and ReconstructionLoss computes in float32"
)

#: (part of the page, loss, kind, start of the column's title) -> reason
REASONS: dict[tuple[str, str, str, str], str] = {
    ("raw", "jensen_shannon", "value", "torch float16"): _HALVED,
    ("raw", "jensen_shannon", "gradient", "torch float16"): _HALVED,
}


def reason(part: str, loss: str, kind: str, title: str) -> str:
    """The reason for a cell, or an empty text."""
    for (p, name, k, start), text in REASONS.items():
        if (p, name, k) == (part, loss, kind) and title.startswith(start):
            return text
    return ""


def unused(cells: list[tuple[str, str, str, str]]) -> list[str]:
    """Reasons for which no (part, loss, kind, title) of the cells beyond the goal asks."""
    return [
        f"{p}: {name} {k}, {start}"
        for p, name, k, start in REASONS
        if not any((p, name, k) == cell[:3] and cell[3].startswith(start) for cell in cells)
    ]
