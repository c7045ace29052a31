"""MODULE:APP is found, or the mistake is named."""

import platform
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jambonz_cluster.application import BadApplication, load_application, traceback_text


@pytest.fixture(autouse=True)
def working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working directory; what is imported from it is forgotten afterwards."""
    before = set(sys.modules)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_application_is_found_in_the_working_directory(working_directory: Path) -> None:
    """Nobody has to install a script before trying it."""
    (working_directory / "my_ivr.py").write_text("class Box:\n    app = 'the app'\napp = 'plain'\n")
    assert load_application("my_ivr:app") == "plain"
    assert load_application("my_ivr:Box.app") == "the app"


@pytest.mark.parametrize(
    ("target", "message"),
    [
        pytest.param("my_ivr", "expected MODULE:APP such as examples.ivr:app, got 'my_ivr'", id="no_colon"),
        pytest.param(":app", "expected MODULE:APP such as examples.ivr:app, got ':app'", id="no_module"),
        pytest.param("my_ivr:", "expected MODULE:APP such as examples.ivr:app, got 'my_ivr:'", id="no_attribute"),
        pytest.param("absent_module:app", "no module 'absent_module' in", id="absent"),
        pytest.param("absent_package.ivr:app", "no module 'absent_package.ivr' in", id="absent_package"),
        pytest.param("ivr.py:app", "no module 'ivr.py' in", id="file_name"),
        pytest.param("..:app", "expected MODULE:APP such as examples.ivr:app, got '..:app'", id="no_name"),
        pytest.param("my_ivr:ap", "module 'my_ivr' has no 'ap'", id="misspelt"),
    ],
)
def test_mistake_is_named(working_directory: Path, target: str, message: str) -> None:
    """The message says what was looked for, and where."""
    (working_directory / "my_ivr.py").write_text("app = 1\n")
    with pytest.raises(BadApplication) as caught:
        load_application(target)
    assert str(caught.value).startswith(message)


def test_error_inside_the_module_is_passed_on(working_directory: Path) -> None:
    """A missing library of the application is not a missing application."""
    package = working_directory / "my_package"
    package.mkdir()
    (package / "__init__.py").write_text("import library_that_is_absent\n")
    with pytest.raises(ModuleNotFoundError, match="library_that_is_absent"):
        load_application("my_package.ivr:app")


def test_name_of_a_file_is_taken_for_what_was_meant() -> None:
    """A shell completes it."""
    with pytest.raises(BadApplication, match=r"; did you mean my_ivr:app\?$"):
        load_application("my_ivr.py:app")


def raised_by(target: str) -> str:
    with pytest.raises((ImportError, SyntaxError)) as caught:
        load_application(target)
    return traceback_text(caught.value)


def test_mistake_in_the_module_is_shown_without_our_frames(working_directory: Path) -> None:
    """Its author looks for one line of an own file."""
    (working_directory / "own_part.py").write_text("import absent_module\n")
    (working_directory / "own_ivr.py").write_text("import own_part\n")
    text = raised_by("own_ivr:app")
    assert [name in text for name in ("own_ivr.py", "own_part.py", "absent_module")] == [True] * 3
    assert "importlib" not in text
    assert "jambonz_cluster" not in text


def test_syntax_error_of_the_module_has_no_frames(working_directory: Path) -> None:
    """It names file and line itself."""
    (working_directory / "odd_ivr.py").write_text("def app(:\n")
    text = raised_by("odd_ivr:app")
    assert text.splitlines()[0].strip() == f'File "{working_directory}/odd_ivr.py", line 1'
    assert text.splitlines()[-1] == f"Python {platform.python_version()} reads it"
    assert "Traceback" not in text
