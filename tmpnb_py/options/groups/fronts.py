"""Several front ends: where they find the orchestrator, and what they share with it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import AfterValidator, BeforeValidator
from pydantic_settings import NoDecode

from tmpnb_py.options import values
from tmpnb_py.options.declaration import Group, Reload, option
from tmpnb_py.options.kinds import SOON, Kind, Quantity


class FrontOptions(Group):
    """Options of `tmpnb-py front`, and of the orchestrator for it."""

    title: ClassVar[str] = "Several front ends"

    front_ip: Annotated[str, AfterValidator(values.read_host)] = option(
        "0.0.0.0",
        "Address or host name on which the orchestrator waits for its front ends; as ip.",
        reload=Reload.RESTART,
    )
    front_port: Annotated[int, Quantity(Kind.NUMBER, 1, 65535, zero="none")] = option(
        0,
        "Port on which the orchestrator waits for its front ends (tmpnb-py front), such as 7444; 0 is none.",
        reload=Reload.RESTART,
    )
    front_orchestrator: Annotated[tuple[str, ...], BeforeValidator(values.read_relays), NoDecode] = option(
        ("tasks.orchestrator:7444",),
        "Where front ends find the orchestrator (comma list of host:port); all addresses of a name count.",
        reload=Reload.RESTART,
    )
    front_secret: Annotated[Path | None, BeforeValidator(values.read_path)] = option(
        None,
        "File with the private key and the certificate that the orchestrator and its front ends share.",
        unset="that of swarm_secret",
        reload=Reload.RESTART,
    )
    front_wait: Annotated[float, SOON] = option(
        30.0,
        "Time for which a front end lets a visitor who wants a notebook wait for an orchestrator that is away "
        "(duration).",
        reload=Reload.RESTART,
    )
