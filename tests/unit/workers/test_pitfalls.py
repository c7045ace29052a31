"""The 49 pitfalls of PROTOCOL.md section 10 each name tests that exist, and comments cite no others."""

import re

from tests.named_tests import REPO, NamedTest, named_in

PAGE = REPO / "docs" / "reference" / "pitfalls.md"
PITFALLS = 49
PROMISES = 10
FOLDERS = ("shared", "gateway", "workers", "cluster", "loadtest", "examples", "tests")

_PITFALLS_CITED = re.compile(r"\b[Pp]itfalls?\s+((?:\d+(?:, | and )?)+)")
_PROMISE_CITED = re.compile(r"\bP(\d{1,2})\b")


def rows() -> dict[int, list[NamedTest]]:
    found = re.findall(r"^\| (\d+) \|(.*)$", PAGE.read_text(), re.MULTILINE)
    return {int(number): named_in(row) for number, row in found}


def written() -> dict[str, str]:
    """Return the sources and pages by their names; figures of benchmarks are neither."""
    pages = [page for page in REPO.glob("docs/**/*.md") if page.parent.name != "benchmarks"]
    sources = [found for folder in FOLDERS for found in (REPO / folder).rglob("*") if found.suffix in {".py", ".lua"}]
    return {str(path.relative_to(REPO)): path.read_text() for path in (*REPO.glob("*.md"), *pages, *sources)}


def test_every_pitfall_names_a_test() -> None:
    """Each of them once, and none is left out."""
    assert sorted(rows()) == list(range(1, PITFALLS + 1))
    assert [number for number, tests in rows().items() if not tests] == []


def test_the_named_tests_exist() -> None:
    """A test that was renamed takes its row with it."""
    missing = [f"{number}: {test}" for number, tests in rows().items() for test in tests if not test.exists]
    assert missing == []


def test_citations_name_what_there_is() -> None:
    """A reader must be able to look it up: ``P6`` is one of our promises, ``pitfall 31`` one of jambonz' pitfalls."""
    wrong = []
    for name, text in written().items():
        cited = [int(number) for group in _PITFALLS_CITED.findall(text) for number in re.findall(r"\d+", group)]
        wrong += [f"{name}: pitfall {number}" for number in cited if number not in range(1, PITFALLS + 1)]
        promised = map(int, _PROMISE_CITED.findall(text))
        wrong += [f"{name}: P{number}" for number in promised if number not in range(1, PROMISES + 1)]
    assert wrong == []
