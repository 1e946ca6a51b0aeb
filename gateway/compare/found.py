"""Hold a difference while it is judged: real values and a cause, not yet waived, not yet words."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.compare.json_text import ABSENT, Location, path_text

if TYPE_CHECKING:
    from gateway.compare.difference import Kind


class Found(NamedTuple):
    """Be one difference with its values as they are (:data:`ABSENT` for none).

    ``place`` is a location inside a JSON body (control's, or where it has none there the candidate's,
    whose own stands in ``other`` when it is another one), or a place as it is shown. ``cause`` selects
    the sentence for people, ``detail`` is what that sentence needs, ``equivalence`` the known equivalence
    that may accept it. (A named tuple: ten thousand of them are made at once.)
    """

    kind: Kind
    place: Location | str
    control: object = ABSENT
    candidate: object = ABSENT
    cause: str = ""
    detail: str = ""
    equivalence: str = ""
    other: Location | None = None

    @property
    def shown_place(self) -> str:
        """Return the place as people read it."""
        return self.place if isinstance(self.place, str) else path_text(self.place)
