"""A string that does not show itself."""

from __future__ import annotations

__all__ = ["Secret"]


class Secret:
    """Holds a key or password. Only `reveal` gives the text; repr, str and format never do.

    Not a `str` subclass on purpose: a secret that is one would be printed by any f-string.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The secret itself: for the wire and the TLS library, never for a message."""
        return self._text

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __repr__(self) -> str:
        return "Secret('***')"

    def __reduce__(self) -> str:
        raise TypeError("a Secret is not pickled")
