"""Refiners on the Hugging Face hub: one file of safetensors and a model card, nothing that runs."""

import os
import re
from importlib import import_module
from pathlib import Path
from typing import Any

from spatialprop.errors import InputError, needs_extra

PREFIX = "hf:"
FILE = "refiner.safetensors"  # of a repository
_SOURCE = re.compile(r"hf:([\w.-]+/[\w.-]+)(?:@((?!.*\.\.)[\w./-]+))?", re.ASCII)
_CARD = """\
---
library_name: spatialprop
pipeline_tag: image-segmentation
tags:
- mask-refinement
- spatial-propagation
---

# {name}

{description}

It refines the borders of segmentation masks: of any classes, from any model or hand.

```python
from spatialprop import Refiner

refiner = Refiner.load("hf:{name}")  # pin a version by "hf:{name}@REVISION"
labels = refiner(image, coarse)      # image (H, W, 3), coarse (K, h, w) probabilities or (H, W) labels
```

From the shell: `spatialprop refine photo.jpg mask.png --weights hf:{name}`

The weights are one file of safetensors, `{file}`. Its header says which network they belong to:

```json
{network}
```
"""


def fetch(source: str, most: int) -> Path:
    """The weights of "hf:owner/name" or "hf:owner/name@revision", from the hub or from its cache on this machine.

    Args:
        source: Which ones.
        most: Larger files, in bytes, are refused before they are downloaded.
    """
    found = _SOURCE.fullmatch(source)
    if not found:
        raise InputError(f"weights on the hub are called hf:owner/name or hf:owner/name@revision; got {source!r}")
    name, revision = found.groups()
    hub = _hub()
    try:
        if cached := _check_answer(hub, name, revision, most):
            return cached
        return Path(hub.hf_hub_download(name, FILE, revision=revision, endpoint=_endpoint()))
    except InputError as error:
        raise InputError(f"{source} cannot be loaded: {error}") from None
    except Exception as error:  # of servers that answer anything, its transport raises anything
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise InputError(
            f"{source} cannot be loaded: {reason}; it needs the file {FILE}, written by push_to_hub, and the hub must "
            f"be reached unless it has been loaded before"
        ) from None


def _check_answer(hub: Any, name: str, revision: str | None, most: int) -> Path | None:
    """Refuse a file that is too large, and tags that become names of files and lead elsewhere.

    Returns:
        The file in the cache, if the hub cannot be reached.
    """
    try:
        found = hub.get_hf_file_metadata(hub.hf_hub_url(name, FILE, revision=revision, endpoint=_endpoint()))
    except hub.errors.HfHubHTTPError:  # it says that there is none
        raise
    except Exception:
        cached = hub.try_to_load_from_cache(name, FILE, revision=revision)
        if isinstance(cached, str):
            return Path(cached)
        raise
    if found.size is not None and found.size > most:
        raise InputError(f"it has {found.size >> 20} MiB; at most {most >> 20} are read")
    for tag in (found.etag, found.commit_hash):
        if tag is not None and not re.fullmatch(r"[\w-]{1,200}", tag, re.ASCII):
            raise InputError(f"the hub answers with the tag {tag[:60]!r}, which is none")
    return None


def push(weights: bytes, card: str, name: str, *, private: bool, revision: str | None, message: str) -> str:
    """Upload weights and a model card as one commit, and return its address."""
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name, re.ASCII):
        raise InputError(f"a repository on the hub is called owner/name; got {name!r}")
    hub = _hub()
    api = hub.HfApi(endpoint=_endpoint(), library_name="spatialprop")
    files = {FILE: weights, "README.md": card.encode()}
    try:
        api.create_repo(name, private=private, exist_ok=True)
        operations = [hub.CommitOperationAdd(path, content) for path, content in files.items()]
        done = api.create_commit(name, operations, commit_message=message, revision=revision)
    except hub.errors.HfHubHTTPError as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"{name} cannot be uploaded: {reason}; log in by `hf auth login`") from None
    return str(done.commit_url)


def card(name: str, description: str, network: str) -> str:
    """A model card made from what a refiner says of itself.

    Args:
        name: The repository, owner/name.
        description: What it was trained on and how it scored.
        network: The network's settings as JSON.
    """
    return _CARD.format(name=name, description=description or "A mask refiner.", network=network, file=FILE)


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT")  # read at the time, not at the first import


def _hub() -> Any:
    with needs_extra("the hub needs huggingface_hub", "hub"):
        import_module("huggingface_hub.errors")
        return import_module("huggingface_hub")
