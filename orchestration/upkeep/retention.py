"""What could be freed, and with --delete is: old runs, outputs that nothing asks for, versions of killed runs, copies.

    python -m orchestration.upkeep.retention [--days 30] [--runs 10] [--forget STUDY] [--delete]

Never touched: what a record of a study names, what is being written or read now, the run that made the last version of anything.
"""

import argparse
import sys
from collections.abc import Sequence

from assets.errors import InputError
from assets.store.cache import Cache
from assets.study import read_studies
from orchestration.history import opened_history
from orchestration.settings import Settings
from orchestration.upkeep.left_outputs import Left, left_outputs
from orchestration.upkeep.old_runs import old_runs


def copies() -> list[Left]:
    """Copies on this machine of what lies in a bucket or behind a URL, as far as nobody uses them."""
    cache = Cache.of_this_machine()
    unused = [copy for copy in cache.copies() if not copy.is_in_use]
    size = sum(copy.bytes for copy in unused)
    return [Left("copies", f"{len(unused)} in {cache.root}", size, lambda: cache.trim(0) >= 0)] if unused else []


def shown_size(size: int | None) -> str:
    """Bytes as a person reads them."""
    if size is None:
        return "unknown"
    amount, unit = float(size), "B"
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000 or unit == "GB":
            break
        amount /= 1000
    return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"


def tell(found: Sequence[Left], delete: bool) -> int:
    """Print one line for each thing, and free it if told. Returns the bytes freed, or that could be."""
    total = 0
    for left in found:
        if left.kept_because:
            outcome = f"kept: {left.kept_because}"
        elif delete:
            outcome = "freed" if left.free() else "kept: somebody uses it"
        else:
            outcome = "could be freed"
        total += (left.bytes or 0) if outcome in ("freed", "could be freed") else 0
        print(f"{shown_size(left.bytes):>10}  {left.kind}: {left.name}  ({outcome})")
    return total


def main(arguments: Sequence[str] | None = None) -> int:
    """List, or free; 2 for a fault that the user can mend."""
    parser = argparse.ArgumentParser(prog="make retention", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=float, default=30, help="runs that ended within so many days stay (30)")
    parser.add_argument("--runs", type=int, default=10, help="the last so many runs of each job stay (10)")
    parser.add_argument("--forget", action="append", default=[], metavar="STUDY", help="give up the outputs of a study without a file")
    parser.add_argument("--delete", action="store_true", help="free what is listed; without it nothing is touched")
    given = parser.parse_args(arguments)
    try:
        settings = Settings.from_environment()
        studies = read_studies(settings.studies)  # a file with a fault stops here: its study's outputs would look given up
        with opened_history() as instance:
            found = old_runs(instance, studies, given.days, given.runs)
            found += left_outputs(settings.deployment, studies, given.forget) + copies()
            total = tell(found, given.delete)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    print(
        f"{shown_size(total)} {'freed' if given.delete else 'could be freed; nothing was touched. To free it: make retention ARGS=--delete'}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
