"""Notebooks on many machines: where the relays of a swarm are, and where notebooks may run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import BeforeValidator
from pydantic_settings import NoDecode

from tmpnb_py.options import values
from tmpnb_py.options.declaration import SWARM, Group, Reload, option


class SwarmOptions(Group):
    """Options of the engine swarm."""

    title: ClassVar[str] = "Swarm"

    swarm_relays: Annotated[tuple[str, ...], BeforeValidator(values.read_relays), NoDecode] = option(
        ("tasks.relay:7443",),
        "Where the relays of the swarm's nodes are reached (comma list of host:port); all addresses of a name count.",
        reload=Reload.RESTART,
        engines=SWARM,
    )
    swarm_secret: Annotated[Path, BeforeValidator(values.read_path)] = option(
        Path("/run/secrets/tmpnb-relay"),
        "File with the private key and the certificate that this service and the relays share.",
        reload=Reload.RESTART,
        engines=SWARM,
    )
    swarm_constraint: Annotated[tuple[str, ...], BeforeValidator(values.read_constraints), NoDecode] = option(
        (),
        "Nodes on which notebooks may run, by Swarm's own placement constraints (comma list such as "
        "node.labels.notebooks==true,node.role==worker); empty is all.",
        reload=Reload.RESTART,
        engines=SWARM,
    )
