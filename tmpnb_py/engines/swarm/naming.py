"""How a pool's services, containers and volumes are named, labelled and found. Pure; used at both ends.

Names do not hold a notebook's id, which is the capability of its session.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from tmpnb_py.engines.docker import options as docker


def name_of(pool: str, container_id: str) -> str:
    """A service's name, a DNS label."""
    return f"tmpnb-{hashlib.sha256(f'{pool}/{container_id}'.encode()).hexdigest()[:32]}"


def manager_name(pool: str) -> str:
    """The name of the config object that a pool's manager keeps renewing."""
    return f"tmpnb-manager-{hashlib.sha256(pool.encode()).hexdigest()[:32]}"


def labels_of(pool: str) -> dict[str, str]:
    """What everything of a pool is labelled with."""
    return {docker.LABEL_PROJECT: docker.PROJECT, docker.LABEL_POOL: pool}


def filters(labels: Mapping[str, str], **more: Sequence[str]) -> dict[str, str]:
    """The query that selects what has these labels."""
    return {"filters": json.dumps({"label": [f"{key}={value}" for key, value in labels.items()], **more})}


def is_of_notebook(name: str, labels: Mapping[str, Any] | None) -> bool:
    """Whether a node's container or volume with these labels is a notebook's: those are named after its service.

    Labels alone are copied by whoever makes an image of a container (`docker commit`) and runs it.
    """
    found = str((labels or {}).get(docker.LABEL_ID, ""))
    own = name_of(str((labels or {}).get(docker.LABEL_POOL, "")), found)
    return docker.is_id(found) and name.removeprefix("/").startswith((f"{own}.", f"{own}-"))
