"""``python -m lossproof.prove.generate [--check] [ID ...]``: write the catalogue's certificates, or say which are stale."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from lossproof.catalogue import CATALOGUE
from lossproof.prove.catalogue_certificates import stale, write

FOLDER = Path("certificates")


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0 if all is as it should be, 1 if a certificate is stale."""
    parser = argparse.ArgumentParser(prog="python -m lossproof.prove.generate", description=__doc__)
    parser.add_argument("ids", nargs="*", metavar="ID", help="losses of the catalogue (default: all)")
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit 1 if a certificate is stale"
    )
    parser.add_argument("--folder", type=Path, default=FOLDER, help="default: certificates")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.ids if name not in CATALOGUE]
    if unknown:
        parser.error(f"expected ids of the catalogue, got {', '.join(unknown)}")
    if not options.check:
        for loss in write(options.folder, options.ids):
            print(f"wrote {options.folder / loss}.json")
        return 0
    found = dict(stale(options.folder, options.ids))
    for loss, why in found.items():
        print(f"{loss}: {why}", file=sys.stderr)
    if found:
        print("Run python -m lossproof.prove.generate.", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
