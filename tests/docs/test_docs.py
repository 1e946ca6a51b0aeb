"""What README and docs claim is there: tables parse, verbs, make targets, options, files and links exist."""

from __future__ import annotations

import argparse
import re
import textwrap
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from gateway.cli.program import VERBS
from gateway.cli.serve import make_parser
from gateway.settings import Settings
from gateway.table.models import BackendModel, DefaultsModel, FileModel, ServerModel
from gateway.table.read import parse_table

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
TABLE_PAGE = ROOT / "docs" / "table.md"

HEAD = 'version: 1\nbackends:\n  legacy: { wsgi: "a:app" }\n  new: { asgi: "b:app" }\n'
"""What a part of a table is completed with before it is read."""

REFUSED = "<!-- refused -->\n"
"""Stands before a table that is there to be wrong; the block after it is what the gateway says."""

OTHERS = ("apiVersion:", "- ", "scrape_configs:", "groups:")
"""What YAML begins with that is Kubernetes', GitHub's or Prometheus', and no table."""

_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str) -> Iterator[tuple[int, str, str]]:
    """Yield line, text and what stands before it, of every fenced block of ``language``."""
    text = page.read_text("utf-8")
    for found in _FENCE.finditer(text):
        if found[2] == language:
            body = "".join(line.removeprefix(found[1]) for line in found[3].splitlines(keepends=True))
            yield text.count("\n", 0, found.start()) + 1, body, text[: found.start()]


def without_blocks(page: Path) -> str:
    return _FENCE.sub("", page.read_text("utf-8"))


def completed(text: str) -> str:
    """Return a whole table for a part of one: its head and its routes are added where they are missing."""
    keys = yaml.safe_load(text)
    if all(" /" in key for key in keys):
        return HEAD + "routes:\n" + textwrap.indent(text, "  ")
    text = text if "version" in keys else HEAD + text
    return text if "routes" in keys else text + "routes: {}\n"


def tables() -> Iterator[object]:
    for page in PAGES:
        for line, text, before in blocks(page, "yaml"):
            if not before.endswith(REFUSED) and not text.startswith(OTHERS):
                yield pytest.param(text, id=f"{page.name}:{line}")
    yield pytest.param((ROOT / "routing.yaml").read_text("utf-8"), id="routing.yaml")


@pytest.mark.parametrize("text", list(tables()))
def test_every_table_shown_is_read_without_a_complaint(text: str) -> None:
    environ = {"TESTERS_TOKEN": "x", "GATEWAY_HOOK_SECRET": "x", "REDIS_URL": "redis://cache/0"}
    parsed = parse_table(completed(text).encode(), source="routing.yaml", environ=environ)
    assert [str(problem) for problem in parsed.problems] == []


def test_the_wrong_table_is_answered_with_the_words_that_stand_below_it() -> None:
    text = TABLE_PAGE.read_text("utf-8")
    found = re.search(re.escape(REFUSED) + r"```yaml\n(.*?)```\n.*?```text\n(.*?)```", text, re.DOTALL)
    assert found is not None
    parsed = parse_table(found[1].encode(), source="routing.yaml", environ={})
    assert [str(problem) for problem in parsed.problems] == found[2].splitlines()


@pytest.mark.parametrize("model", [FileModel, ServerModel, BackendModel, DefaultsModel])
def test_the_page_of_the_table_names_every_key(model: type[FileModel]) -> None:
    text = TABLE_PAGE.read_text("utf-8")
    missing = [name for name in model.model_fields if not re.search(rf"\b{name}\b", text)]
    assert missing == []


def code(page: Path) -> str:
    """Return all code of a page, inline and in console blocks, one piece a line."""
    text = page.read_text("utf-8")
    inline = re.findall(r"`([^`\n]+)`", _FENCE.sub("", text))
    lines = [line for _, body, _ in blocks(page, "console") for line in body.splitlines()]
    return "\n".join([*inline, *(line.removeprefix("$ ") for line in lines if line.startswith("$ "))])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_verb_named_exists(page: Path) -> None:
    named = set(re.findall(r"(?:^|[/ ])(?<!from )gateway ([a-z]+)", code(page), re.MULTILINE))
    assert named - VERBS.keys() == set()


def test_every_verb_named_in_the_comments_of_the_reference_table_exists() -> None:
    named = re.findall(r"`gateway ([a-z]+)", (ROOT / "routing.yaml").read_text("utf-8"))
    assert set(named) - VERBS.keys() == set()


def test_no_verb_goes_unmentioned() -> None:
    said = "\n".join(page.read_text("utf-8") for page in PAGES)
    assert [verb for verb in VERBS if f"gateway {verb}" not in said] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_make_target_named_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = set(re.findall(r"^make ([a-z-]+)", code(page), re.MULTILINE))
    assert named - targets == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_between_the_pages_leads_somewhere(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", without_blocks(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert broken == []


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", without_blocks(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_named_in_code_exists(page: Path) -> None:
    roots = "gateway|tests|docs|benchmarks|reference|legacy_flask|new_api"
    named = re.findall(rf"^((?:{roots})/[\w/.-]+)$", code(page), re.MULTILINE)
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_the_page_on_architecture_names_every_floor() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["id"] == "floors")
    floors = {name.replace(".", "/") for layer in layers for name in re.findall(r"[a-z_.]+", layer)}
    assert [floor for floor in sorted(floors) if f"`{floor}" not in text] == []


def test_the_page_on_operating_names_every_serving_option_and_variable() -> None:
    text = (ROOT / "docs" / "operating.md").read_text("utf-8")
    options = {
        option
        for action in make_parser("serve", {})._actions  # argparse offers no other list of its options
        if action.help != argparse.SUPPRESS
        for option in action.option_strings
    }
    assert {option for option in options - {"-h", "--help"} if f"`{option}" not in text} == set()
    assert {name for name in Settings.model_fields if f"GATEWAY_{name.upper()}" not in text} == set()
