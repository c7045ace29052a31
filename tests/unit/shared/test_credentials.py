"""Lines of app:user:hash, and the hashes in them."""

import pytest

from jambonz_shared.credentials import Credential, SecretHash, credential_of, problem_in, read_credentials

SALT = bytes(range(16))
CHEAP = SecretHash.of("made by a machine", SALT, log2_n=0)
SLOW = SecretHash.of("chosen by a person", SALT, log2_n=10)


@pytest.mark.parametrize(
    ("kept", "secret"),
    [pytest.param(CHEAP, "made by a machine", id="sha256"), pytest.param(SLOW, "chosen by a person", id="scrypt")],
)
def test_hash_matches_its_secret_only(kept: SecretHash, secret: str) -> None:
    """Both schemes survive a file, and take the right secret only."""
    again = SecretHash.parse(str(kept))
    assert again == kept
    assert again.matches(secret)
    assert not again.matches(secret + " ")
    assert not again.matches("")
    assert secret not in str(kept)


def test_hash_of_the_same_secret_looks_different_with_another_salt() -> None:
    """Two accounts with one password must not show it."""
    assert SecretHash.of("x", SALT, log2_n=0).digest != SecretHash.of("x", bytes(16), log2_n=0).digest


def test_only_the_slow_scheme_is_slow() -> None:
    """The gateway computes the cheap one in its loop."""
    assert SLOW.is_slow
    assert not CHEAP.is_slow


def test_scrypt_is_that_of_rfc_7914() -> None:
    """Other tools can make these hashes: RFC 7914 section 12, third vector, cut to 32 bytes."""
    assert SecretHash.of("pleaseletmein", b"SodiumChloride", log2_n=14).digest.hex() == (
        "7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2"
    )


def test_lines_are_read_with_comments_and_several_apps() -> None:
    """A file that people keep."""
    text = f"# acme\n\nivr,shop:acme:{CHEAP}\n  *:ops:{SLOW}  \n"
    assert read_credentials(text) == [
        Credential(frozenset({"ivr", "shop"}), "acme", CHEAP),
        Credential(frozenset({"*"}), "ops", SLOW),
    ]
    assert credential_of(str(read_credentials(text)[0])) == read_credentials(text)[0]
    assert problem_in(text) == ""


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        pytest.param("acme:hunter2", "line 2: expected app:user:hash, got 2 parts", id="no_app"),
        pytest.param(f"i vr:acme:{CHEAP}", "line 2: expected names of apps, or *, before the first colon", id="app"),
        pytest.param(f":acme:{CHEAP}", "line 2: expected names of apps, or *, before the first colon", id="empty_app"),
        pytest.param(f"ivr::{CHEAP}", "line 2: expected a user between the colons", id="empty_user"),
        pytest.param("ivr:acme:hunter2", "line 2: expected a hash that begins with", id="plain_secret"),
        pytest.param(f"ivr:acme:{SLOW}".replace("scrypt.10", "scrypt.20"), "with a cost of 10 to 15", id="too_costly"),
    ],
)
def test_bad_line_is_named_without_its_content(line: str, problem: str) -> None:
    """Whoever wrote a plain secret into the file must not find it in the log, too."""
    told = problem_in(f"*:a:{CHEAP}\n{line}")
    assert problem in told
    assert "hunter2" not in told


def test_user_with_too_many_lines_is_refused() -> None:
    """Each line may cost one slow hash."""
    assert "at most 8 lines of one user" in problem_in(f"ivr:acme:{CHEAP}\n" * 9)
    assert not problem_in(f"ivr:acme:{CHEAP}\n" * 8)
