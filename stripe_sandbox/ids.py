"""Ids that look like Stripe's: random to the eye, the same for the same seed and number."""

from __future__ import annotations

import hashlib
from typing import Final

from stripe_sandbox.families import id_prefix

_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_LENGTH: Final = 24


def token(*parts: object, length: int = _LENGTH) -> str:
    """A base-62 string that depends on the parts and nothing else; at most 40 characters."""
    digest = int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=32).digest(), "big")
    letters = []
    for _ in range(length):
        digest, index = divmod(digest, len(_ALPHABET))
        letters.append(_ALPHABET[index])
    return "".join(letters)


class IdSource:
    """Makes the next id of any type. The number of ids made so far is the only state."""

    def __init__(self, seed: int, made: int = 0) -> None:
        self._seed = seed
        self.made = made

    def next(self, object_type: str) -> str:
        """A new id for an object of a type."""
        return f"{id_prefix(object_type)}_{self.token()}"

    def token(self, length: int = _LENGTH) -> str:
        """A new token without a prefix, for secrets, fingerprints and the like."""
        self.made += 1
        return token(self._seed, self.made, length=length)
