"""Build hook of the wheel: compiles the modules that pyproject.toml lists by mypyc, if asked to (ADR 0013)."""

import shutil
import sys
from contextlib import chdir
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory
from typing import Any, Final

from hatchling.builders.config import BuilderConfig
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_LIBRARY: Final = "jambonz_cluster"
"""All modules are in one library, ``jambonz_cluster__mypyc``, so that calls between them are calls of C."""


class CompileHook(BuildHookInterface[BuilderConfig]):
    """Puts compiled modules beside their sources into the wheel: Python prefers them, tracebacks show the sources."""

    _folder: "TemporaryDirectory[str] | None" = None

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile for a wheel; not for an editable install, whose sources are to be edited."""
        if version != "standard":
            return
        self._folder = TemporaryDirectory(prefix="jambonz-cluster-build-")
        sources, libraries = Path(self._folder.name, "sources"), Path(self._folder.name, "libraries")
        # Paths as they will be in site-packages: a traceback finds the text of a line by them.
        for package in self.build_config.packages:
            shutil.copytree(Path(self.root, package), sources / PurePath(package).name)
        modules = [str(PurePath(*PurePath(module).parts[1:])) for module in self.config["modules"]]
        # That all types are right is known; here they must only be read, without the extras that images do not have.
        options = [
            f"--config-file={self.root}/pyproject.toml",
            # Not that of the file: what only newer versions of Python reach is left out of the C, and raises.
            f"--python-version={sys.version_info.major}.{sys.version_info.minor}",
            "--ignore-missing-imports",
            "--no-warn-unused-ignores",
            "--no-warn-unreachable",
        ]
        with chdir(sources):
            _compile([*options, *modules], libraries)
        built = libraries.rglob("*.so")
        build_data["force_include"].update({str(library): str(library.relative_to(libraries)) for library in built})
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what the wheel holds now."""
        del version, build_data, artifact_path
        if self._folder is not None:
            self._folder.cleanup()


def _compile(arguments: list[str], libraries: Path) -> None:
    # Only builds that compile need these two. setuptools is first: it brings the distutils that mypyc imports.
    from setuptools import Distribution  # noqa: I001, PLC0415
    from mypyc.build import mypycify  # noqa: PLC0415

    extensions = mypycify(arguments, group_name=_LIBRARY)
    command = Distribution({"name": _LIBRARY, "ext_modules": extensions}).get_command_obj("build_ext")
    command.build_lib = str(libraries)
    command.ensure_finalized()
    command.run()
