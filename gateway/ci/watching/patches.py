"""Replace attributes of modules and classes for a while, also of modules that are imported only later."""

from __future__ import annotations

import contextlib
import sys
from importlib.abc import Loader, MetaPathFinder
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

    Action = Callable[[ModuleType], None]


class Patches:
    """Remember what was replaced; :meth:`undo` puts it back, last first."""

    def __init__(self) -> None:
        self._undoing: list[Callable[[], object]] = []
        self._waiting: dict[str, Action] = {}
        self._finder = _Finder(self._waiting)

    def replace(self, owner: Any, name: str, make: Callable[[Any], Any]) -> None:
        """Put what ``make`` makes of the present value in its place; an owner without it is left alone."""
        if not hasattr(owner, name):
            return
        own = vars(owner).get(name)
        original = getattr(owner, name)
        setattr(owner, name, make(original))
        if own is None:
            self._undoing.append(lambda: delattr(owner, name))  # it was inherited
        else:
            self._undoing.append(lambda: setattr(owner, name, own))

    def when_imported(self, module: str, action: Action) -> None:
        """Call ``action`` with a module: now where it is imported, else when it will be."""
        present = sys.modules.get(module)
        if present is not None:
            action(present)
            return
        self._waiting[module] = action
        if self._finder not in sys.meta_path:
            sys.meta_path.insert(0, self._finder)

    def afterwards(self, action: Callable[[], object]) -> None:
        """Call ``action`` when everything is put back."""
        self._undoing.append(action)

    def undo(self) -> None:
        """Put everything back."""
        self._waiting.clear()
        with contextlib.suppress(ValueError):
            sys.meta_path.remove(self._finder)
        while self._undoing:
            self._undoing.pop()()


class _Finder(MetaPathFinder):
    """Find the modules that are waited for, by the other finders, and put a loader around theirs."""

    def __init__(self, waiting: dict[str, Action]) -> None:
        self._waiting = waiting

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        action = self._waiting.get(fullname)
        if action is None:
            return None
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None) if finder is not self else None
            spec: ModuleSpec | None = find(fullname, path, target) if find is not None else None
            if spec is not None and spec.loader is not None:
                del self._waiting[fullname]
                spec.loader = _Loader(spec.loader, action)
                return spec
        return None


class _Loader(Loader):
    """Load as the module's own loader does, then call the action; leaves no trace of itself."""

    def __init__(self, loader: Loader, action: Action) -> None:
        self._loader = loader
        self._action = action

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        self._action(module)
