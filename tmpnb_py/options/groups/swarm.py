"""Docker Swarm: where the relays are, and on which nodes notebooks may run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import BeforeValidator
from pydantic_settings import NoDecode

from tmpnb_py.core.units import DAY
from tmpnb_py.options import values
from tmpnb_py.options.declaration import SWARM, Group, Reload, option
from tmpnb_py.options.kinds import Kind, Quantity

DEFAULT_SECRET = Path("/run/secrets/relay")


class SwarmOptions(Group):
    """Options of the engine `swarm`."""

    title: ClassVar[str] = "Swarm"

    swarm_relays: Annotated[tuple[str, ...], BeforeValidator(values.read_relays), NoDecode] = option(
        ("tasks.relay:7443",),
        "Where the relays of the nodes listen (comma list of host:port); every address of a name counts.",
        reload=Reload.RESTART,
        engines=SWARM,
    )
    swarm_secret: Annotated[Path | None, BeforeValidator(values.read_path)] = option(
        None,
        "File with the private key and the certificate that the service and the relays share.",
        unset=str(DEFAULT_SECRET),
        reload=Reload.RESTART,
        engines=SWARM,
    )
    swarm_constraint: Annotated[tuple[str, ...], BeforeValidator(values.read_constraints), NoDecode] = option(
        (),
        "Placement constraints of Swarm that notebooks' nodes have to meet (comma list such as "
        "node.labels.notebooks==true,node.role==worker); none allows every node.",
        reload=Reload.RESTART,
        engines=SWARM,
    )
    node_grace: Annotated[float, Quantity(Kind.DURATION, 1, DAY)] = option(
        120.0,
        "Time that sessions of a node that Swarm has lost answer 503, before they end (duration).",
        reload=Reload.RESTART,
        engines=SWARM,
    )
