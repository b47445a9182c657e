"""What a receipt costs on AWS: ``make costs`` counts anew and writes the page.

``python -m bench.costs --page`` writes the page from the counts that are kept;
``python -m bench.costs --records N`` counts one size and keeps it beside the others.
"""

from __future__ import annotations

import argparse

from bench.costs.kept import PAGE, keep, said, written
from bench.costs.measuring import measured

SIZES = (10_000, 50_000)


def main() -> None:
    """Count, unless only the page is wanted, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--page", action="store_true", help="from the counts that are kept")
    parser.add_argument("--records", type=int, nargs="*", default=SIZES, help="words to begin with")
    options = parser.parse_args()
    for records in () if options.page else options.records:
        keep(records, measured(records))
    PAGE.write_text(written(), encoding="utf-8")
    print(said())


if __name__ == "__main__":
    main()
