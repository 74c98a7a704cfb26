"""Images: load them from the usual places, bring them to [0, 1], look at what a loss may expect of them."""

from lossproof.data.checking import check
from lossproof.data.facts import DataReport, Part, Verdict
from lossproof.data.images import Images, Raw
from lossproof.data.loading import load, read

__all__ = ["DataReport", "Images", "Part", "Raw", "Verdict", "check", "load", "read"]
