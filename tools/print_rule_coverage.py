"""Print which techniques of the public Linux tests the shipped rules cover, and which not."""

import sys

from guardhouse.analysis.risk.coverage import SOURCE, cover
from guardhouse.analysis.risk.rules import RuleSet


def main() -> int:
    """Print the table; the last line is the share."""
    rules = RuleSet.builtin()
    found = cover(rules.rules)
    for technique in found.techniques:
        print(f"{technique:<10} {', '.join(found.counting.get(technique, ())) or '-'}")
    for technique, names in found.outside.items():
        print(f"{technique:<10} {', '.join(names)} (not in the list)")
    total = len(found.techniques)
    print(SOURCE)
    print(
        f"rules {rules.version}: {len(rules.rules)} rules cover {found.covered} of {total} techniques"
        f" ({100 * found.covered / total:.1f} %)"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
