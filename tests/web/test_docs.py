"""Claim that the documentation page works from this package alone, under a strict policy, in a browser."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

import gateway.web.docs
from gateway.web.docs import SWAGGER_UI_VERSION, DocsAssets, docs_page
from gateway.web.openapi import merged_description
from tests.running import running
from tests.web.described import migration, new_app

if TYPE_CHECKING:
    from starlette.requests import Request

STATIC = Path(gateway.web.docs.__file__).parent / "static"


def site() -> Starlette:
    """Return an app with the page, its files and a description."""
    description = merged_description(migration(), new_app())

    async def openapi(request: Request) -> Response:
        return JSONResponse(description)

    async def docs(request: Request) -> Response:
        return docs_page("/openapi.json", "/-/docs", title="Shop <&>")

    return Starlette(
        routes=[Route("/openapi.json", openapi), Route("/docs", docs), Mount("/-/docs", DocsAssets())]
    )


def client() -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=site()), base_url="http://localhost")


async def test_the_page_names_only_addresses_of_its_own_origin_and_each_is_served() -> None:
    async with client() as http:
        page = await http.get("/docs")
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert page.headers["cache-control"] == "no-cache"
        addresses = [
            address for address in re.findall(r'(?:href|src|url)="([^"]+)"', page.text) if address != "data:,"
        ]
        assert len(addresses) == 7
        for address in addresses:
            assert re.match(r"/[^/]", address)
            assert (await http.get(address)).status_code == 200


async def test_the_page_has_no_script_or_style_of_its_own_and_its_policy_forbids_them() -> None:
    async with client() as http:
        page = await http.get("/docs")
    assert re.findall(r"<script[^>]*>([^<]+)</script>|<style|style=|\son\w+=", page.text) == []
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert "<title>Shop &lt;&amp;&gt;</title>" in page.text


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("swagger-ui.css", "text/css; charset=utf-8"),
        ("swagger-ui-bundle.js", "text/javascript; charset=utf-8"),
        ("docs.js", "text/javascript; charset=utf-8"),
        ("docs.css", "text/css; charset=utf-8"),
        ("oauth2-redirect.html", "text/html; charset=utf-8"),
        ("oauth2-redirect.js", "text/javascript; charset=utf-8"),
    ],
)
async def test_each_file_has_its_type_and_is_fetched_once(name: str, media_type: str) -> None:
    async with client() as http:
        first = await http.get(f"/-/docs/{name}")
        assert first.headers["content-type"] == media_type
        assert first.headers["x-content-type-options"] == "nosniff"
        assert first.headers["cache-control"] == "no-cache"
        again = await http.get(f"/-/docs/{name}", headers={"if-none-match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        versioned = await http.get(f"/-/docs/{name}?v={SWAGGER_UI_VERSION}")
        assert "immutable" in versioned.headers["cache-control"]
        head = await http.head(f"/-/docs/{name}")
        assert head.headers["content-length"] == first.headers["content-length"]
        assert head.content == b""


@pytest.mark.parametrize("name", ["README.md", "LICENSE", "../docs.py", "%2e%2e/docs.py", "", "nothing.js"])
async def test_nothing_but_the_listed_files_is_served(name: str) -> None:
    async with client() as http:
        assert (await http.get(f"/-/docs/{name}")).status_code == 404
        assert (await http.post("/-/docs/docs.js")).status_code == 405


def test_the_vendored_files_name_their_version_and_licence() -> None:
    readme = (STATIC / "swagger" / "README.md").read_text("utf-8")
    assert f"version {SWAGGER_UI_VERSION}" in readme
    assert "Apache License" in (STATIC / "swagger" / "LICENSE").read_text("utf-8")
    assert SWAGGER_UI_VERSION in (STATIC / "swagger" / "swagger-ui-bundle.js").read_text("utf-8")


def test_a_browser_renders_every_operation_with_its_stage(tmp_path: Path) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no executable called chromium or chromium-browser is on PATH to render the page with")
    with running(site()) as base:
        browser = subprocess.run(
            [
                chromium,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-background-networking",
                "--enable-logging=stderr",
                f"--user-data-dir={tmp_path}",
                "--virtual-time-budget=20000",
                "--dump-dom",
                f"{base}/docs",
            ],
            capture_output=True,
            text=True,
            timeout=90,
            check=True,
        )
    page = browser.stdout
    shown = re.findall(r'data-path="([^"]+)"', page)
    assert sorted(shown) == sorted(
        path for path, methods in merged_description(migration(), new_app())["paths"].items() for _ in methods
    )
    stages = re.findall(r'class="stage stage-(\w+)"[^>]*>([^<]+)<', page)
    assert sorted(stages) == sorted(
        [("new", "new"), ("canary", "canary 5.5%"), ("shadow", "shadow"), *[("legacy", "legacy")] * 4]
    )
    assert "Content Security Policy" not in browser.stderr
