"""How this installation was built: from its sources alone, or with its hot modules compiled (ADR 0013)."""

from importlib.metadata import version

from jambonz_shared import wire


def is_compiled() -> bool:
    """Tell whether the modules of the hot path run compiled; all of them do, or none, for they are one library."""
    return not wire.__file__.endswith(".py")


def build_text() -> str:
    """Return the version and how it was built, for people: ``0.1.0, compiled``."""
    return f"{version('jambonz-cluster')}, {'compiled' if is_compiled() else 'not compiled'}"
