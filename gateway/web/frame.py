"""Put a whole HTML page around a body: no script or style of its own, so that the policy can forbid both."""

from __future__ import annotations

from html import escape


def framed(body: str, title: str, *, is_live: bool = True) -> str:
    """Return the page; a live one keeps itself current."""
    script = '<script src="/static/admin.js" defer></script>' if is_live else ""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="color-scheme" content="light dark"><title>{escape(title)}</title>'
        '<link rel="icon" href="data:,"><link rel="stylesheet" href="/static/admin.css">'
        f'{script}</head><body><main id="page">{body}</main></body></html>'
    )
