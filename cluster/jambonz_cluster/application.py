"""Finds the application that ``MODULE:APP`` names."""

import importlib
import importlib.util
import platform
import sys
import traceback
from difflib import get_close_matches
from itertools import dropwhile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from jambonz_shared.kinds import KINDS

if TYPE_CHECKING:
    from jambonz_workers import App

# What stands between the command and the module that it imports.
_LOADING: Final = (__file__, str(Path(importlib.__file__).parent), "<frozen importlib")


class BadApplication(ValueError):
    """``MODULE:APP`` names nothing that can be run; the text says what was found instead."""


def load_application(target: str) -> object:
    """Import the module from the working directory or PYTHONPATH and return its attribute.

    What the module raises while it is imported is passed on as it is: its traceback is what its author needs.

    Raises:
        BadApplication: If the text is not ``MODULE:APP``, or there is no such module or attribute.
    """
    module_name, colon, attribute = target.partition(":")
    if not (colon and attribute and all(part.isidentifier() for part in module_name.split("."))):
        raise BadApplication(f"expected MODULE:APP such as examples.ivr:app, got {target!r}")
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    if not _exists(module_name):
        hint = f"; did you mean {module_name[:-3]}:{attribute}?" if module_name.endswith(".py") else ""
        raise BadApplication(f"no module {module_name!r} in {folder} or on PYTHONPATH{hint}")
    found: object = importlib.import_module(module_name)
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise BadApplication(f"module {module_name!r} has no {attribute!r}")
        found = getattr(found, part)
    return found


def traceback_text(error: Exception) -> str:
    """Return what an author needs of what ``load_application`` has passed on: frames from the module's file on."""
    shown = traceback.TracebackException.from_exception(error)
    frames = list(dropwhile(lambda frame: frame.filename != __file__, shown.stack))
    theirs = list(dropwhile(lambda frame: frame.filename.startswith(_LOADING), frames))
    if not theirs:
        # A syntax error names file and line itself, but not the Python that does not know the syntax.
        version = f"Python {platform.python_version()} reads it\n" if isinstance(error, SyntaxError) else ""
        return "".join(shown.format_exception_only()) + version
    shown.stack = traceback.StackSummary.from_list(theirs)
    return "".join(shown.format())


def doubts_about(app: "App") -> list[str]:
    """Return what makes an application useless, or a part of it, though nothing of it is wrong."""
    manifest = app.manifest()
    doubts = [] if manifest.paths or manifest.is_open else ["the app has no session handler: every call gets 404"]
    # A newer jambonz may have kinds that nobody here knows of.
    return doubts + [
        f"the app has a handler of {kind!r}, which no known jambonz sends; was {near[0]!r} meant?"
        for kind in app.kinds
        if kind not in KINDS and (near := get_close_matches(kind, KINDS, 1))
    ]


def _exists(module_name: str) -> bool:
    try:
        return importlib.util.find_spec(module_name) is not None
    except ModuleNotFoundError as error:
        # A missing parent package; a missing import inside an existing parent is the author's and is passed on.
        if error.name is not None and (module_name == error.name or module_name.startswith(f"{error.name}.")):
            return False
        raise
