"""Python's syntax tree of a formula, from any thread."""

import ast
import threading

_ONE_AT_A_TIME = threading.Lock()  # Python 3.11 counts the depth of all threads' trees as one


def syntax(text: str) -> ast.Expression:
    """The tree of an expression; raises what ``ast.parse`` does."""
    with _ONE_AT_A_TIME:
        return ast.parse(text, mode="eval")


__all__ = ["syntax"]
