"""Holds the coverage limits of pyproject.toml against a report of ``coverage json``."""

import json
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parent.parent
SOURCE_FOLDERS = ("shared", "gateway", "workers", "cluster", "loadtest")


def module_of(path: str) -> str:
    """Return the dotted name of a source file given relative to the repository."""
    parts = Path(path).with_suffix("").parts
    if parts and parts[0] in SOURCE_FOLDERS:
        parts = parts[1:]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_covered_by(module: str, names: list[str]) -> bool:
    """Tell whether a module is one of the names or lies below one."""
    return any(module == name or module.startswith(f"{name}.") for name in names)


def problems_of(report: dict[str, Any], limits: dict[str, Any]) -> Iterator[str]:
    """Yield one sentence for each limit that the report breaks."""
    pure = limits["pure"]["modules"]
    for path, entry in sorted(report["files"].items()):
        percent = entry["summary"]["percent_covered"]
        if is_covered_by(module_of(path), pure) and percent < 100.0:
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
    limits = tomllib.loads((REPO / "pyproject.toml").read_text())["tool"]["jambonz-cluster"]
    problems = list(problems_of(report, limits))
    print("\n".join([*table_of(report), *problems]))  # noqa: T201  the report is this script's product
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
