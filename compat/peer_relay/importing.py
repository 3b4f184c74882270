"""Changing a module of another package's when it is imported, or now if it is.

Lives here: how that moment is found. May not live here: what is changed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType


class WhenImported(MetaPathFinder):
    """Finds one module as the next finder would, and has it changed once it is executed."""

    def __init__(self, name: str, change: Callable[[ModuleType], object]) -> None:
        self._name = name
        self._change = change

    def begin(self) -> None:
        """Have the module changed, now if it is loaded, else when it is imported."""
        module = sys.modules.get(self._name)
        if module is not None:
            self._change(module)
        elif self not in sys.meta_path:
            sys.meta_path.insert(0, self)

    def end(self) -> None:
        """Undo `begin`, where the module has not been imported."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self._name:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Changing(spec.loader, self)
        return spec

    def executed(self, module: ModuleType) -> None:
        """The module was executed."""
        self._change(module)
        self.end()


class _Changing(Loader):
    """A loader that tells what another one has loaded."""

    def __init__(self, loader: Loader, when: WhenImported) -> None:
        self._loader = loader
        self._when = when

    def __getattr__(self, name: str) -> object:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        spec = module.__spec__
        if spec is not None:
            spec.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        self._when.executed(module)
