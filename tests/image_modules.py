"""Modules that are the image's: they are in no package of ours, so tests load them by their files."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

from tmpnb_py.core.installation import workshop_directory


def load(name: str) -> ModuleType:
    """A module of `workshop_image/server` as the image has it."""
    spec = importlib.util.spec_from_file_location(name, workshop_directory() / "server" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
