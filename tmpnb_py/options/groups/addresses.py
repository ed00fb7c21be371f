"""Where the service listens, the names that it answers to, and its tokens."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import AfterValidator, BeforeValidator, SecretStr, ValidationInfo, field_validator
from pydantic_settings import NoDecode

from tmpnb_py.options import values
from tmpnb_py.options.declaration import Group, Reload, option
from tmpnb_py.options.kinds import Kind, Quantity

_PORT = Quantity(Kind.NUMBER, 0, 65535)

Host = Annotated[str, AfterValidator(values.read_host)]


class AddressOptions(Group):
    """Options of the two listeners."""

    title: ClassVar[str] = "Addresses and ports"

    ip: Host = option(
        "0.0.0.0",
        "Address or host name that visitors connect to; 0.0.0.0 is all of IPv4, :: all of IPv6 and IPv4.",
        reload=Reload.RESTART,
    )
    port: Annotated[int, _PORT] = option(
        8000, "Port for visitors; 0 lets the kernel pick a free one.", reload=Reload.RESTART
    )
    admin_ip: Host = option(
        "127.0.0.1",
        "Address or host name that the admin listener listens on; written like ip.",
        reload=Reload.RESTART,
    )
    admin_port: Annotated[int, _PORT] = option(
        10000, "Port of the admin listener; 0 lets the kernel pick a free one.", reload=Reload.RESTART
    )
    admin_auth_token: Annotated[SecretStr, AfterValidator(values.read_secret)] = option(
        SecretStr(""),
        "Token that the admin listener demands. Prefer the environment (ADMIN_AUTH_TOKEN works too): other users of "
        "the machine can read a command line.",
        reload=Reload.AT_ONCE,
    )
    base_url: Annotated[str, AfterValidator(values.read_base_url)] = option(
        "/",
        "Path of the service on its host, such as /jupyter/: pages, API and notebooks are below it.",
        reload=Reload.RESTART,
    )
    public_url: Annotated[str, AfterValidator(values.read_public_url)] | None = option(
        None,
        "URL of the first page as visitors write it, such as https://notebooks.example.org/: for links that people "
        "are given, as to a class.",
        unset="https:// and the first name of allowed_hosts, else this machine's address",
        reload=Reload.AT_ONCE,
    )
    allowed_hosts: Annotated[tuple[str, ...], BeforeValidator(values.read_host_names), NoDecode] = option(
        (),
        "Host names that visitors reach this service by (comma list; *.example.net is every name below it, * is any "
        "name). Addresses, localhost and this machine's own names are always accepted; other names get 421, because "
        "any web page can point a name of its own at this service.",
        reload=Reload.AT_ONCE,
    )
    session_host: Annotated[str, AfterValidator(values.read_session_host)] | None = option(
        None,
        "Gives each notebook a host, and so a web origin, of its own, such as {name}.nb.example.net: best below a "
        "domain that is not the one of allowed_hosts. Needs a wildcard name and certificate. A port in it is the one "
        "that visitors see, if it is another than the service's.",
        unset="none: all are on the service's own",
        reload=Reload.AT_ONCE,
    )
    api_auth_token: Annotated[SecretStr, AfterValidator(values.read_secret)] = option(
        SecretStr(""),
        "Token that the visitors' API demands; with it, no pages are served. Prefer the environment (API_AUTH_TOKEN "
        "works too).",
        reload=Reload.RESTART,
    )

    @field_validator("admin_port")
    @classmethod
    def _ports_differ(cls, admin_port: int, info: ValidationInfo) -> int:
        hosts = {info.data.get("ip"), info.data.get("admin_ip")}
        if admin_port and admin_port == info.data.get("port") and (len(hosts) == 1 or hosts & {"0.0.0.0", "::"}):
            raise ValueError("is the visitors' port too: give the admin listener another one")
        return admin_port
