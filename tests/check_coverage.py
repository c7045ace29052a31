"""Holds the coverage limits of pyproject.toml against a report of ``coverage json``."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.pure_modules import all_modules, module_name, settings


def problems_of(report: dict[str, Any], limits: dict[str, Any]) -> Iterator[str]:
    """Yield one sentence for each limit that the report breaks."""
    pure = {name for name, module in all_modules().items() if module.is_pure}
    for path, entry in sorted(report["files"].items()):
        percent = entry["summary"]["percent_covered"]
        if module_name(Path(path)) in pure and percent < 100.0:
            missing = entry["missing_lines"] or entry.get("missing_branches", [])
            yield f"{path}: pure, so 100 % is expected, got {percent:.1f} %; missing: {missing}"
    overall, floor = report["totals"]["percent_covered"], limits["coverage"]["overall_percent"]
    if overall < floor:
        yield f"overall: at least {floor:.1f} % is expected, got {overall:.1f} %"


def table_of(report: dict[str, Any]) -> Iterator[str]:
    """Yield a line for each file that is not fully covered, worst first, then the total."""
    files = [(entry["summary"], path) for path, entry in report["files"].items()]
    for summary, path in sorted(files, key=lambda pair: (pair[0]["percent_covered"], pair[1])):
        if summary["percent_covered"] < 100.0:
            yield f"{summary['percent_covered']:6.1f} %  {summary['missing_lines']:4d} lines missing  {path}"
    yield f"{report['totals']['percent_covered']:6.1f} %  overall, of {len(files)} files"


def main() -> int:
    """Print the report and its problems; return the exit code."""
    report = json.loads(Path(sys.argv[1]).read_text())
    problems = list(problems_of(report, settings()))
    print("\n".join([*table_of(report), *problems]))  # noqa: T201  the report is this script's product
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
