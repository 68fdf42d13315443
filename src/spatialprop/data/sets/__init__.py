"""One module a data set: its classes, its reader, the function that conf/data names, and `SOURCE`, where it comes from.

To add one, write that module, name its function in `spatialprop.data`, and give it conf/data/<name>.yaml,
data/<name>/README.md and tests/data/sets/test_<name>.py.
"""

from importlib import import_module
from pkgutil import iter_modules

from spatialprop.data.sets.file_examples import FileExamples, tolerate_missing
from spatialprop.data.sets.source import Archive, Source

__all__ = ["Archive", "FileExamples", "Source", "sources", "tolerate_missing"]


def sources() -> dict[str, Source]:
    """The `SOURCE` of every module here by the module's name."""
    modules = {found.name: import_module(f"{__name__}.{found.name}") for found in iter_modules(__path__)}
    return {name: module.SOURCE for name, module in modules.items() if hasattr(module, "SOURCE")}
