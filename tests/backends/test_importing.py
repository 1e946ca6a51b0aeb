"""An import string gives the app it names, or one block that says what to write instead."""

from __future__ import annotations

import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

from gateway.backends.importing import import_app
from gateway.errors import BackendImportError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FILES = {
    "shop_pkg/__init__.py": "",
    "shop_pkg/good.py": """
        from flask import Flask

        app = Flask(__name__)
        number = 3
        nothing_yet = None

        class Holder:
            inner = app

        def create_app(config=None, *, debug=False):
            made = Flask("made")
            made.config.update(GIVEN=config, GIVEN_DEBUG=debug)
            return made

        def broken():
            return helper()

        def helper():
            raise KeyError("DATABASE_URL")

        def forgetful(): ...

        async def slow():
            return app

        def plain_wsgi(environ, start_response):
            return []

        async def plain_asgi(scope, receive, send): ...

        def stopping():
            raise SystemExit("no licence")
    """,
    "shop_pkg/needs.py": "import package_that_is_nowhere\n",
    "shop_pkg/torn.py": "def app(:\n",
    "shop_pkg/leaves.py": "raise SystemExit(3)\n",
    "shop_pkg/deep.py": "import json\n\nsettings = json.loads('{')\n",
    "src/hidden_shop/__init__.py": "",
    "sole_shop.py": "app = print\n",
}


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name, text in FILES.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("shop_pkg", "sole_shop", "hidden_shop"):
            del sys.modules[name]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        pytest.param("shop_pkg.good:app", "Flask", id="an app"),
        pytest.param("shop_pkg.good:Holder.inner", "Flask", id="an attribute of an attribute"),
        pytest.param("shop_pkg.good:app.wsgi_app", "method", id="a bound method"),
        pytest.param("shop_pkg.good:plain_wsgi", "function", id="a WSGI function"),
        pytest.param("shop_pkg.good:plain_asgi", "function", id="an ASGI function"),
        pytest.param("shop_pkg.good:create_app()", "Flask", id="a factory"),
        pytest.param(" sole_shop:app ", "builtin_function_or_method", id="a module of the working directory"),
    ],
)
def test_an_import_string_gives_what_it_names(text: str, kind: str) -> None:
    assert type(import_app(text, "legacy")).__name__ == kind


def test_a_factory_gets_literal_arguments() -> None:
    app = import_app("shop_pkg.good:create_app({'a': [1, -2.5, None]}, debug=True)", "legacy")
    config = getattr(app, "config")  # noqa: B009 - the import door gives an object of any kind
    assert config["GIVEN"] == {"a": [1, -2.5, None]}
    assert config["GIVEN_DEBUG"] is True


def test_the_working_directory_is_put_in_front_once(project: Path) -> None:
    import_app("shop_pkg.good:app", "legacy")
    import_app("sole_shop:app", "legacy")
    assert sys.path[0] == str(project)
    assert sys.path.count(str(project)) == 1


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        pytest.param(
            "shop_pkk.good:app", ["No module named 'shop_pkk'", "`shop_pkg`"], id="package misspelt"
        ),
        pytest.param(
            "shop_pkg.goud:app", ["No module named 'shop_pkg.goud'", "`shop_pkg.good`"], id="module"
        ),
        pytest.param(
            "shop_pkg.good:ap", ["no attribute 'ap'", "did you mean `app`"], id="attribute misspelt"
        ),
        pytest.param("shop_pkg.good:zzz", ["no attribute 'zzz'", "it has `app`"], id="attribute unlike any"),
        pytest.param(
            "shop_pkg.good:app.nope", ["`shop_pkg.good.app` has no attribute"], id="inner attribute"
        ),
        pytest.param(
            "shop_pkg.good:create_app", ["write `shop_pkg.good:create_app()`"], id="factory not called"
        ),
        pytest.param("shop_pkg.good:app()", ["an app already", "write `shop_pkg.good:app`"], id="app called"),
        pytest.param("shop_pkg.good:Holder", ["a class, not an app"], id="a class"),
        pytest.param("shop_pkg.good:number", ["type int, which is no app"], id="not callable"),
        pytest.param("shop_pkg.good:nothing_yet", ["is None"], id="none"),
        pytest.param(
            "shop_pkg.good:broken()",
            [
                "KeyError: 'DATABASE_URL'",
                "shop_pkg/good.py:17: return helper()",
                'shop_pkg/good.py:20: raise KeyError("DATABASE_URL")',
                "the factory `broken` raised this",
            ],
            id="factory raises",
        ),
        pytest.param("shop_pkg.good:stopping()", ["SystemExit: 'no licence'"], id="factory exits"),
        pytest.param(
            "shop_pkg.good:forgetful()", ["returned None", "return app"], id="factory returns nothing"
        ),
        pytest.param("shop_pkg.good:slow()", ["`async def`"], id="asynchronous factory"),
        pytest.param(
            "shop_pkg.good:create_app(1, 2, 3)",
            ["too many positional", "create_app(config=None, *, debug=False)"],
            id="wrong arguments",
        ),
        pytest.param("shop_pkg.good:create_app(open('x'))", ["`open('x')` is not a literal"], id="code"),
        pytest.param("shop_pkg.good:create_app(**{})", ["`**` is not taken"], id="star arguments"),
        pytest.param("shop_pkg.good:app[0]", ["neither a name nor a call"], id="subscript"),
        pytest.param("shop_pkg.good:app +", ["is not Python"], id="syntax of the string"),
        pytest.param(
            "shop_pkg.needs:app",
            [
                "No module named 'package_that_is_nowhere'",
                "shop_pkg/needs.py:1: import package_that_is_nowhere",
                "install it",
            ],
            id="dependency missing",
        ),
        pytest.param(
            "shop_pkg.torn:app", ["SyntaxError", "shop_pkg/torn.py:1: def app(:"], id="syntax error"
        ),
        pytest.param("shop_pkg.leaves:app", ["SystemExit: 3", "__name__"], id="import exits"),
        pytest.param(
            "shop_pkg.deep:app",
            ["JSONDecodeError", "shop_pkg/deep.py:3: settings = json.loads('{')"],
            id="the user's frame, not the library's",
        ),
        pytest.param("hidden_shop:app", ["found in `src/`", "PYTHONPATH=src"], id="source folder"),
        pytest.param("qqq:app", ["installed or in the working directory"], id="nothing near"),
        pytest.param("shop_pkg/good.py:app", ["is a file", "write `shop_pkg.good:app`"], id="a path"),
        pytest.param("shop_pkg.good", ["which object", "write `shop_pkg.good:app`"], id="no colon"),
        pytest.param(
            "shop_pkg.good.app:app", ["a colon stands", "`shop_pkg.good:app`"], id="dot for a colon"
        ),
        pytest.param(":app", ["is not a module's name"], id="no module"),
        pytest.param("", ["which object"], id="empty"),
    ],
)
def test_a_failure_is_one_block_with_cause_place_and_repair(text: str, parts: list[str]) -> None:
    with pytest.raises(BackendImportError) as caught:
        import_app(text, "new")
    detail = caught.value.detail
    assert detail.startswith(f"backends.new: cannot import `{text}`")
    assert caught.value.backend == "new"
    for part in parts:
        assert part in detail
    assert "gateway/backends" not in detail
    assert "Traceback" not in detail
    assert "importlib" not in detail
