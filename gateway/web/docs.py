"""Show the merged description as a page (Swagger UI), with every file out of this package.

No other host is ever asked, and no script or style stands in the page itself, so that its
Content-Security-Policy can be strict. The page is the same for everyone; only the description it loads
says anything about the API.
"""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Final

from starlette.datastructures import Headers
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, Response
from starlette.staticfiles import NotModifiedResponse

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

SWAGGER_UI_VERSION: Final = "5.35.0"

_STATIC: Final = Path(__file__).parent / "static"

_ASSETS: Final = {
    "swagger-ui.css": ("swagger", "text/css; charset=utf-8"),
    "swagger-ui-bundle.js": ("swagger", "text/javascript; charset=utf-8"),
    "oauth2-redirect.html": ("swagger", "text/html; charset=utf-8"),
    "oauth2-redirect.js": ("swagger", "text/javascript; charset=utf-8"),
    "docs.css": ("docs", "text/css; charset=utf-8"),
    "docs.js": ("docs", "text/javascript; charset=utf-8"),
}

DOCS_FILES: Final = tuple(_ASSETS)
"""The names of the page's files, as :class:`DocsAssets` serves them."""

_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "font-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)

_SAFE: Final = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
}


def docs_page(openapi_url: str, static_url: str, *, title: str = "API") -> Response:
    """Return the page that shows the description at ``openapi_url``.

    ``static_url`` is where :class:`DocsAssets` is mounted, without a trailing slash. Both are addresses as
    the browser sees them (with a prefix, if a proxy adds one), of the same origin as the page.
    """
    static = escape(static_url.rstrip("/"))
    version = f"?v={SWAGGER_UI_VERSION}"
    page = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="{static}/swagger-ui.css{version}">
<link rel="stylesheet" href="{static}/docs.css">
</head>
<body>
<div id="swagger-ui" data-openapi-url="{escape(openapi_url)}"
 data-oauth2-redirect-url="{static}/oauth2-redirect.html"></div>
<noscript>This page needs JavaScript; <a href="{escape(openapi_url)}">the description</a> does not.</noscript>
<script src="{static}/swagger-ui-bundle.js{version}"></script>
<script src="{static}/docs.js"></script>
</body>
</html>
"""
    return HTMLResponse(page, headers={"cache-control": "no-cache", **_SAFE})


class DocsAssets:
    """Be the ASGI app that serves the page's files: exactly the listed ones, GET and HEAD, with an ETag.

    A file asked for with its version (``?v=``) may be kept for a year; the others are asked for again.
    Mount it anywhere; the last segment of the path names the file.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        await self.response(scope)(scope, receive, send)

    def response(self, scope: Scope) -> Response:
        """Return the answer to one request: the file, 304, 404 or 405."""
        if scope["method"] not in ("GET", "HEAD"):
            return PlainTextResponse("Method Not Allowed", 405, headers={"allow": "GET, HEAD"})
        name = scope["path"].rpartition("/")[2]
        found = _ASSETS.get(name)
        if found is None:
            return PlainTextResponse("Not Found", 404)
        folder, media_type = found
        path = _STATIC / folder / name
        is_versioned = scope.get("query_string", b"") == f"v={SWAGGER_UI_VERSION}".encode()
        headers = {
            "cache-control": "public, max-age=31536000, immutable" if is_versioned else "no-cache",
            **_SAFE,
        }
        response = FileResponse(path, headers=headers, stat_result=path.stat())
        # Said outright: the machine's own table of types may call JavaScript something that nosniff refuses.
        response.headers["content-type"] = media_type
        known = Headers(scope=scope).get("if-none-match", "")
        if response.headers["etag"] in [tag.strip().removeprefix("W/") for tag in known.split(",")]:
            return NotModifiedResponse(response.headers)
        return response
