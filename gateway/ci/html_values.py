"""Find what a page hands out for later requests: hidden fields and ``<meta>`` tokens. Nothing raises."""

from __future__ import annotations

from html.parser import HTMLParser


class _Fields(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        name = attributes.get("name", "")
        if tag == "input" and name and attributes.get("type", "").lower() == "hidden":
            self.found.setdefault(name, attributes.get("value", ""))
        elif tag == "meta" and is_csrf_name(name):
            self.found.setdefault(name, attributes.get("content", ""))


def hidden_fields(page: str) -> dict[str, str]:
    """Return the hidden fields of the page's forms, and its CSRF token in a ``<meta>``, by name."""
    if "<" not in page:
        return {}
    parser = _Fields()
    parser.feed(page)
    return parser.found


def is_csrf_name(name: str) -> bool:
    """Tell whether a field or header of this name carries a CSRF token."""
    bare = name.lower().replace("-", "").replace("_", "")
    return "csrf" in bare or "xsrf" in bare or bare == "authenticitytoken"
