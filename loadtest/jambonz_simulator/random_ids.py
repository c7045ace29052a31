"""Ids as jambonz makes them, from a seed if a test wants the same ones again."""

import random
import uuid
from typing import Final

# The alphabet of the short-uuid package, base 58.
_ALPHABET: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


class RandomIds:
    """Short msgids of 22 characters and UUIDs, unlike any other source's."""

    def __init__(self, seed: int | None = None) -> None:
        self._random = random.Random(seed)  # noqa: S311 - ids of a simulator keep no secret

    def msgid(self) -> str:
        """Give 22 characters of base 58."""
        return "".join(self._random.choices(_ALPHABET, k=22))

    def sid(self) -> str:
        """Give a random UUID."""
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))
