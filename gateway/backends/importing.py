"""Turn an import string of the table into the object it names, or say in one block why that fails.

An import string is ``module:attribute``, ``module:attribute.attribute`` or ``module:factory(...)`` with
Python literals as arguments. The working directory is importable, before anything installed.

Whatever goes wrong, the reader wants three things: which backend, what really happened *in their own
code*, and what to write instead. So every failure is one :class:`~gateway.errors.BackendImportError`
whose ``detail`` is that block; frames of the gateway and of the import system never appear in it.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import inspect
import linecache
import pkgutil
import site
import sys
import sysconfig
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.errors import BackendImportError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

_SHOWN_FRAMES = 2
_GATEWAY_FOLDER = str(Path(__file__).resolve().parent.parent)
_NOT_THE_USERS = tuple(
    {
        _GATEWAY_FOLDER,
        *(path for name, path in sysconfig.get_paths().items() if name in ("purelib", "platlib")),
        *site.getsitepackages(),
        site.getusersitepackages(),
    }
)
_STANDARD_LIBRARY = sysconfig.get_paths()["stdlib"]


@dataclass(frozen=True, slots=True)
class ImportString:
    """Be an import string taken apart. ``arguments`` is None when there is no call."""

    text: str
    module: str
    attributes: tuple[str, ...]
    arguments: tuple[tuple[Any, ...], Mapping[str, Any]] | None = None


class _Refusal(Exception):
    """Carry what is wrong, and the repair where one is known, to :func:`import_app`."""

    def __init__(self, message: str, repair: str = "", cause: BaseException | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.repair = repair
        self.cause = cause


def import_app(import_string: str, backend_name: str) -> object:
    """Return the object that ``import_string`` names, for the backend called ``backend_name``.

    Raises :class:`~gateway.errors.BackendImportError` for everything that can go wrong, ``SystemExit``
    raised by the app's own code included.
    """
    try:
        wanted = parse_import_string(import_string)
        make_working_directory_importable()
        found, owner = _resolve(wanted, _import_module(wanted))
        if wanted.arguments is None:
            return _refuse_factory(wanted, found)
        return _call(wanted, found, owner)
    except _Refusal as refusal:
        raise BackendImportError(
            backend_name, _block(import_string, backend_name, refusal)
        ) from refusal.cause


def make_working_directory_importable() -> None:
    """Put the working directory in front of the import path, unless it is on it already."""
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)


def parse_import_string(text: str) -> ImportString:
    """Take ``module:attribute.attribute`` or ``module:factory(literal, key=literal)`` apart."""
    module, colon, expression = text.strip().partition(":")
    if module.endswith(".py") or "/" in module:
        dotted = module.removesuffix(".py").strip("./").replace("/", ".")
        raise _Refusal(
            f"{module!r} is a file, and a module is wanted", f"write `{dotted}:{expression or 'app'}`"
        )
    if not colon or not expression.strip():
        raise _Refusal(
            "it does not say which object of the module is the app",
            f"write `{module or 'module'}:app`, or `{module or 'module'}:create_app()` for a factory",
        )
    if not module or not all(part.isidentifier() for part in module.split(".")):
        raise _Refusal(f"{module!r} is not a module's name", "write it as in an import: `package.module:app`")
    spelling = (
        "after the colon stands a name, `app.wsgi_app`, or a call with literals, `create_app('production')`"
    )
    try:
        node = ast.parse(expression.strip(), mode="eval").body
    except (SyntaxError, ValueError) as exc:
        raise _Refusal(f"{expression!r} is not Python", spelling) from exc
    arguments = None
    if isinstance(node, ast.Call):
        arguments = _literal_arguments(node)
        node = node.func
    attributes: list[str] = []
    while isinstance(node, ast.Attribute):
        attributes.insert(0, node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        raise _Refusal(f"{expression!r} is neither a name nor a call of one", spelling)
    return ImportString(text, module, (node.id, *attributes), arguments)


def _literal_arguments(call: ast.Call) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    def literal(node: ast.expr) -> Any:
        try:
            return ast.literal_eval(node)
        except ValueError as exc:
            raise _Refusal(
                f"the argument `{ast.unparse(node)}` is not a literal",
                "arguments are strings, numbers, booleans, None, or lists and dicts of them; "
                "for anything else write a factory without arguments in your own code",
            ) from exc

    names = [keyword.arg for keyword in call.keywords]
    if None in names:
        raise _Refusal("`**` is not taken in an import string", "write the arguments out")
    return (
        tuple(literal(node) for node in call.args),
        {keyword.arg: literal(keyword.value) for keyword in call.keywords if keyword.arg},
    )


def _import_module(wanted: ImportString) -> object:
    try:
        return _users_code(lambda: importlib.import_module(wanted.module))
    except _Refusal as refusal:
        cause = refusal.cause
        if isinstance(cause, ModuleNotFoundError) and cause.name:
            refusal.repair = _missing_module_repair(wanted, cause.name)
        elif isinstance(cause, SystemExit):
            refusal.repair = (
                "importing the module ends the process: move what runs on import under "
                "`if __name__ == '__main__':`"
            )
        raise


def _users_code(step: Callable[[], object]) -> object:
    try:
        return step()
    except (Exception, SystemExit) as exc:
        raise _Refusal("", cause=exc) from exc


def _missing_module_repair(wanted: ImportString, missing: str) -> str:
    is_target = wanted.module == missing or wanted.module.startswith(missing + ".")
    if not is_target:
        package = missing.partition(".")[0]
        if _is_local(package):
            return (
                f"`{package}` is in the working directory, but has no `{missing}`{_nearest_module(missing)}"
            )
        return f"the app needs `{package}`: install it in the environment the gateway runs in ({sys.prefix})"
    as_path = missing.replace(".", "/")
    found = [*Path.cwd().glob(f"*/{as_path}/__init__.py"), *Path.cwd().glob(f"*/{as_path}.py")]
    if found:
        folder = found[0].relative_to(Path.cwd()).parts[0]
        return (
            f"it was found in `{folder}/`: start the gateway there, or set PYTHONPATH={folder}, "
            "or install your project (`pip install -e .`)"
        )
    nearest = _nearest_module(missing)
    if nearest:
        return f"is the name right?{nearest}"
    parent, _, last = missing.rpartition(".")
    if parent in sys.modules and not hasattr(sys.modules[parent], "__path__"):
        return f"a colon stands between module and object: write `{parent}:{last}`"
    return f"is the name right, and is it installed or in the working directory ({Path.cwd()})?"


def _is_local(package: str) -> bool:
    return (Path.cwd() / package).is_dir() or (Path.cwd() / f"{package}.py").is_file()


def _nearest_module(missing: str) -> str:
    """Ask whether a module near in name was meant, from its package or the working directory; else empty."""
    parent, _, name = missing.rpartition(".")
    if parent:
        paths = getattr(sys.modules.get(parent), "__path__", None) or [
            str(Path.cwd() / parent.replace(".", "/"))
        ]
    else:
        paths = [str(Path.cwd())]
    known = {module.name for module in pkgutil.iter_modules(list(paths))}
    if not parent:
        known |= {folder.name for folder in Path.cwd().iterdir() if any(folder.glob("*.py"))}
    return _nearest(name, known, prefix=f"{parent}." if parent else "")


def _nearest(name: str, known: Iterable[str], *, prefix: str = "") -> str:
    matches = difflib.get_close_matches(name, sorted(set(known) - {name}), n=3, cutoff=0.6)
    return f" did you mean {' or '.join(f'`{prefix}{match}`' for match in matches)}?" if matches else ""


def _resolve(wanted: ImportString, module: object) -> tuple[object, str]:
    found, owner = module, wanted.module
    for name in wanted.attributes:
        try:
            found = getattr(found, name)
        except AttributeError as exc:
            kind = "module" if owner == wanted.module else "object"
            nearest = _nearest(name, dir(found)) or _app_like(found)
            raise _Refusal(
                f"the {kind} `{owner}` has no attribute {name!r}",
                nearest.strip() or _empty_module(found),
                None,
            ) from exc
        except (Exception, SystemExit) as exc:
            raise _Refusal("", cause=exc) from exc
        owner = f"{owner}.{name}"
    return found, owner


def _app_like(module: object) -> str:
    """Name what looks like an app or a factory among the module's attributes, when no name is near."""
    names = [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and callable(value)
        and not inspect.isclass(value)
        and _is_app_like(name, value)
    ]
    return f"it has {', '.join(f'`{name}`' for name in names[:5])}" if names else ""


def _is_app_like(name: str, value: object) -> bool:
    if inspect.isfunction(value):
        return "app" in name.lower()
    return hasattr(value, "wsgi_app") or hasattr(value, "router") or "app" in name.lower()


def _empty_module(module: object) -> str:
    file = getattr(module, "__file__", None)
    if file:
        return f"{_shown_path(file)} defines no such name"
    return (
        "the folder has no __init__.py, and the name is in one of its modules"
        if hasattr(module, "__path__")
        else ""
    )


def _refuse_factory(wanted: ImportString, found: object) -> object:
    if found is None:
        raise _Refusal(
            f"`{'.'.join(wanted.attributes)}` is None", "name the app, or the factory that makes it"
        )
    if _is_factory(found):
        if inspect.isclass(found):
            raise _Refusal("it names a class, not an app", "name an object made of it, or a factory's call")
        raise _Refusal(
            "it names a function that makes an app (a factory), not an app", f"write `{wanted.text}()`"
        )
    if not callable(found):
        raise _Refusal(
            f"it names an object of type {type(found).__name__}, which is no app",
            (_app_like(sys.modules[wanted.module]) or "name a WSGI or ASGI application").strip(),
        )
    return found


def _is_factory(found: object) -> bool:
    """Tell whether ``found`` is a function or class that takes neither WSGI's two arguments nor ASGI's 3."""
    if not _is_definition(found):
        return False
    try:
        parameters = inspect.signature(found).parameters.values()  # type: ignore[arg-type] # it is callable
    except (TypeError, ValueError):
        return False
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
        return False
    required = [
        parameter
        for parameter in parameters
        if parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD
    ]
    return len(required) not in (2, 3)


def _is_definition(value: object) -> bool:
    return inspect.isroutine(value) or inspect.isclass(value)


def _call(wanted: ImportString, factory: object, owner: str) -> object:
    assert wanted.arguments is not None  # noqa: S101 - the caller has looked; this tells the type checker
    positional, named = wanted.arguments
    name = ".".join(wanted.attributes)
    if not callable(factory):
        raise _Refusal(
            f"`{owner}` is of type {type(factory).__name__} and cannot be called",
            f"write `{wanted.module}:{name}`",
        )
    try:
        inspect.signature(factory).bind(*positional, **named)
    except TypeError as exc:
        if not _is_definition(factory):
            raise _Refusal(
                f"`{owner}` is an app already, not a factory", f"write `{wanted.module}:{name}`"
            ) from exc
        raise _Refusal(
            f"the factory does not take these arguments: {exc}", f"it is `{name}{inspect.signature(factory)}`"
        ) from exc
    except ValueError:
        pass  # a callable without a signature, such as one written in C: the call itself will tell
    try:
        made = _users_code(lambda: factory(*positional, **named))
    except _Refusal as refusal:
        if isinstance(refusal.cause, ModuleNotFoundError) and refusal.cause.name:
            refusal.repair = _missing_module_repair(wanted, refusal.cause.name)
        else:
            refusal.repair = f"the factory `{name}` raised this: mend it there, or pass it what it needs"
        raise
    if inspect.iscoroutine(made):
        made.close()
        raise _Refusal(
            "the factory is an `async def`, and nothing can await it here", "make it a plain `def`"
        )
    if made is None:
        raise _Refusal("the factory returned None", f"does `{name}` end with `return app`?")
    if not callable(made):
        raise _Refusal(
            f"the factory returned an object of type {type(made).__name__}, which is no app",
            "return the application",
        )
    return made


def _block(import_string: str, backend_name: str, refusal: _Refusal) -> str:
    lines = [f"backends.{backend_name}: cannot import `{import_string}`"]
    if refusal.message:
        lines[0] += f": {refusal.message}"
    if refusal.cause is not None:
        lines.append(f"  {_cause_line(refusal.cause)}")
        lines += [f"  at {frame}" for frame in _users_frames(refusal.cause)]
    if refusal.repair:
        lines.append(f"  repair: {refusal.repair}")
    return "\n".join(lines)


def _cause_line(cause: BaseException) -> str:
    if isinstance(cause, SystemExit):
        return f"SystemExit: {cause.code!r}"
    if isinstance(cause, SyntaxError):
        return f"{type(cause).__name__}: {cause.msg}"
    return "".join(traceback.format_exception_only(cause)).strip().replace("\n", "\n    ")


def _users_frames(cause: BaseException) -> Sequence[str]:
    """Return the innermost frames in the user's own code, outermost first, as ``file:line: source``."""
    if isinstance(cause, SyntaxError) and cause.filename:
        return [f"{_shown_path(cause.filename)}:{cause.lineno}: {(cause.text or '').strip()}"]
    frames = [(frame.filename, frame.lineno or 0) for frame in traceback.extract_tb(cause.__traceback__)]
    foreign = [(file, line) for file, line in frames if not file.startswith(("<", _GATEWAY_FOLDER))]
    own = [(file, line) for file, line in foreign if not _is_installed(file)]
    shown = own[-_SHOWN_FRAMES:] or [place for place in foreign if not _is_import_system(place[0])][-1:]
    return [f"{_shown_path(file)}:{line}: {linecache.getline(file, line).strip()}" for file, line in shown]


def _is_installed(file: str) -> bool:
    if file.startswith(_NOT_THE_USERS):
        return True
    return file.startswith(_STANDARD_LIBRARY)


def _is_import_system(file: str) -> bool:
    return file.startswith(str(Path(_STANDARD_LIBRARY) / "importlib"))


def _shown_path(file: str) -> str:
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else file
