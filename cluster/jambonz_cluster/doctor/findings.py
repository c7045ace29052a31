"""What a check has found, and what the exit code makes of it. Pure."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any


class Level(Enum):
    """How bad it is: ``WARN`` works, with the risk that the text tells; ``FAIL`` does not."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    Attributes:
        check: What was looked at, in one word or two.
        text: What was seen.
        cure: What to do; empty if nothing is wrong.
    """

    level: Level
    check: str
    text: str
    cure: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self) | {"level": self.level.value}


def ok(check: str, text: str) -> Finding:
    """Return that all is well."""
    return Finding(Level.OK, check, text)


def warn(check: str, text: str, cure: str) -> Finding:
    """Return a risk."""
    return Finding(Level.WARN, check, text, cure)


def fail(check: str, text: str, cure: str) -> Finding:
    """Return what has to be mended."""
    return Finding(Level.FAIL, check, text, cure)


def is_well(findings: Iterable[Finding]) -> bool:
    """Tell whether nothing has failed; risks are well."""
    return all(finding.level is not Level.FAIL for finding in findings)


def report_text(findings: Iterable[Finding]) -> str:
    """Return the report for people: a line for each finding, its cure below."""
    lines: list[str] = []
    for finding in findings:
        lines.append(f"{finding.level.value:<5} {finding.check}: {finding.text}")
        if finding.cure:
            lines.append(f"      -> {finding.cure}")
    return "\n".join(lines)
