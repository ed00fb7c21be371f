"""How values that are more than a number are read and checked: hosts, networks, lists, paths, texts. Pure.

Every check raises ValueError with a text that follows the offending value and says what to write instead. Used by
`groups`, with which it changes.
"""

from __future__ import annotations

import ipaddress
import posixpath
import re
from pathlib import Path

import idna
from pydantic import SecretStr

from tmpnb_py.core import binder_spec, links, warm, web_targets
from tmpnb_py.core.document_paths import INTERFACE, INTERFACES, document_target
from tmpnb_py.core.host_names import EVERY_NAME, PLACEHOLDER, normal
from tmpnb_py.core.installation import engines_of_others
from tmpnb_py.core.models import Mount, Protection
from tmpnb_py.words.tags import AUTO as AUTO_LANGUAGE
from tmpnb_py.words.tags import tags

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_MOST_WORDS = 20_000
AUTO_ENGINE = "auto"
OUR_ENGINES = ("docker", "local", "swarm")


def read_host(value: str) -> str:
    """Check an IP address or host name to listen on."""
    if "%" not in value:
        try:
            return str(ipaddress.ip_address(value))
        except ValueError:
            pass
    # RFC 1123 §2.1: letters, digits and hyphens; a name whose last label is a number would be an address.
    label = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
    if re.fullmatch(rf"(?:{label}\.)*{label}", value) and not value.rpartition(".")[2].isdigit():
        return value
    raise ValueError("is neither an IP address nor a host name: 0.0.0.0 is all of IPv4, :: all of IPv6 and IPv4")


def read_host_names(value: object) -> object:
    """Parse host names of this service, as browsers send them; `*.` before one matches all names below it."""
    return tuple(_host_name(str(part)) for part in _parts(value, "notebooks.example.org,*.example.net"))


def read_base_url(value: str) -> str:
    """Normalise the path of the service to begin and end with a slash."""
    base = f"/{value.strip('/')}/" if value.strip("/") else links.ROOT
    if not links.is_base(base):
        raise ValueError(
            "is not a path for the service: write one such as /jupyter/, of letters, digits, dots, hyphens and "
            'underscores, in which no part is "user"'
        )
    return base


def read_public_url(value: str) -> str:
    """Check a URL that people are given; it ends in a slash."""
    found = re.fullmatch(r"(https?://[A-Za-z0-9.:\[\]-]{1,255})(/[^?#]*)?", value)
    path = f"{(found[2] or '').rstrip('/')}/" if found else ""
    if found is None or not links.is_base(path):
        raise ValueError("is not the URL of a first page: write it like https://notebooks.example.org/")
    return found[1] + path


def read_session_host(value: str) -> str:
    """Check what notebooks' own hosts look like: `{name}` as the first label of a host name, and a port or none."""
    if not value:
        return ""
    hint = "write {name} before a domain of its own, such as {name}.nb.example.net"
    first, _, rest = value.partition(".")
    domain, colon, port = rest.partition(":")
    if first != PLACEHOLDER or not domain or "*" in domain or not _fits(domain):
        raise ValueError(f'is "{value}": {hint}, without scheme and path')
    if colon and not _is_port(port):
        raise ValueError(f'is "{value}", which ends in no port: {hint}')
    return f"{PLACEHOLDER}.{_host_name(domain)}{colon}{port}"


def _fits(domain: str) -> bool:
    """Whether a session name before the domain is a host name still (RFC 1035 §2.3.4)."""
    return len(domain) <= 200


def _host_name(part: str) -> str:
    if part == EVERY_NAME:
        return part
    wildcard, name = ("*.", part[2:]) if part.startswith("*.") else ("", part)
    hint = "write a name alone, such as notebooks.example.org or *.example.net"
    if "/" in name or ":" in name.strip("[]").rpartition("]")[2]:
        raise ValueError(f'holds "{part}", which is more than a name: {hint}, without scheme, port and path')
    try:
        return wildcard + read_host(idna.encode(normal(name), uts46=True).decode())
    except (ValueError, idna.IDNAError):
        raise ValueError(f'holds "{part}", which is not a host name: {hint}') from None


def read_image(value: str) -> str:
    """Check the name of an image."""
    if not re.fullmatch(r"[A-Za-z0-9][\w.:/@-]*", value, re.ASCII):
        raise ValueError("is not the name of an image: write one such as tmpnb-py-workshops:latest")
    return value


def read_command(value: str) -> str:
    """Check a start command: it names one of `{socket}` and `{port}` at most."""
    if not value.strip() or "\0" in value:
        raise ValueError("is not a command: leave the option out to use the start line that fits the image")
    if "{socket}" in value and "{port}" in value:
        raise ValueError("has both {socket} and {port}: keep the one that the notebook server listens on")
    return value


def read_pool_name(value: str) -> str:
    """Check the name of a pool, which becomes part of file names and of names in the engine."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,31}", value):
        raise ValueError("is not a pool's name: use 1 to 32 of a-z, 0-9, - and _, the first a letter or a digit")
    return value


def read_warm_kernels(value: object) -> object:
    """Parse names of kernels, or one of the words `auto` and `none`."""
    parts = tuple(dict.fromkeys(str(part) for part in _parts(value, "python3,ir")))
    if parts in ((), (warm.NONE,), (warm.AUTO,)):
        return () if parts != (warm.AUTO,) else parts
    for part in parts:
        if part in (warm.NONE, warm.AUTO):
            raise ValueError(f'holds "{part}", which goes with nothing else: write {part} alone, or python3,ir')
        if not warm.is_kernel(part):
            raise ValueError(f'holds "{part}", which is no kernel\'s name: write python3,ir, auto or none')
    if len(parts) > warm.MOST_KERNELS:
        raise ValueError(f"names {len(parts)} kernels: give at most {warm.MOST_KERNELS}")
    return parts


def read_slugs(value: object) -> object:
    """Parse workshops' short names."""
    parts = tuple(str(part) for part in _parts(value, "introduction-to-r,octave"))
    for part in parts:
        if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", part) or len(part) > 64:
            raise ValueError(
                f'holds "{part}", which is no workshop\'s short name: write one such as introduction-to-r'
            )
    return parts


def read_secret(value: SecretStr) -> SecretStr:
    """Check that a secret fits into a header."""
    if not re.fullmatch(r"[!-~]*", value.get_secret_value()):
        raise ValueError("travels in a header: use visible ASCII characters without blanks")
    return value


def read_path(value: object) -> object:
    """Make a path absolute, with `~` expanded."""
    if not isinstance(value, str | Path):
        return value
    if not str(value).strip() or "\0" in str(value):
        raise ValueError("is not a directory: write its path, such as /run/tmpnb-py")
    try:
        return Path(value).expanduser().absolute()
    except RuntimeError as error:
        raise ValueError("begins with a home directory that is not known: write the whole path") from error


def read_file(value: object) -> object:
    """Make the path of a file absolute, with `~` expanded."""
    if not isinstance(value, str | Path):
        return value
    if not str(value).strip() or "\0" in str(value):
        raise ValueError("is not a file: write its path")
    return read_path(value)


def read_color(value: str) -> str:
    """Normalise a colour to `#rrggbb`; `#rgb` and a missing `#` are accepted."""
    found = re.fullmatch(r"#?([0-9a-f]{6}|[0-9a-f]{3})", value.strip().lower())
    if found is None:
        raise ValueError("is not a colour: write it as #rrggbb, such as #0b5fa5")
    digits = found[1] if len(found[1]) == 6 else "".join(2 * digit for digit in found[1])
    return f"#{digits}"


def read_title(value: str) -> str:
    """Check a title of one line."""
    if not value.strip() or len(value) > 80 or not value.isprintable():
        raise ValueError("is not a name for the pages: write one line of at most 80 characters")
    return value.strip()


def read_language(value: str) -> str:
    """Check a language of the pages."""
    if value not in (AUTO_LANGUAGE, *tags()):
        raise ValueError(
            f"is no language that the pages are in: write {AUTO_LANGUAGE}, or one of {', '.join(tags())}"
        )
    return value


def read_words(value: str) -> str:
    """Check a text for the pages."""
    if len(value) > _MOST_WORDS or not all(char.isprintable() or char in "\n\t" for char in value):
        raise ValueError(f"is not text that fits a page: write at most {_MOST_WORDS} characters")
    return value.strip()


def read_redirect(value: str, interfaces: tuple[str, ...]) -> str:
    """Check that a notebook can be opened at this path, with Jupyter's interfaces and the given ones."""
    try:
        document_target(value, (*INTERFACES, *interfaces))
    except ValueError as error:
        raise ValueError(f"cannot be opened in a notebook: {error}; interfaces names more") from None
    return value


def read_address(value: str) -> str:
    """Check an IP address; a name is refused, because the engine takes none."""
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        raise ValueError("is not an IP address: 127.0.0.1 lets only this machine in, 0.0.0.0 everybody") from None


def read_interfaces(value: object) -> object:
    """Parse the first parts of the paths of interfaces."""
    names = tuple(str(part).strip("/") for part in _parts(value, "rstudio,voila"))
    for name in names:
        if not INTERFACE.fullmatch(name):
            raise ValueError(f'holds "{name}", which is not the first part of a path: write rstudio,voila')
    return names


def read_relays(value: object) -> object:
    """Hosts with ports."""
    found = tuple(str(part) for part in _parts(value, "tasks.relay:7443"))
    for one in found:
        host, _, port = one.rpartition(":")
        if not host or not _is_port(port):
            raise ValueError(f'holds "{one}", which is not a host with a port: write tasks.relay:7443')
    return found


def read_constraints(value: object) -> object:
    """Swarm's placement constraints."""
    found = tuple(str(part) for part in _parts(value, "node.role==worker"))
    for one in found:
        if not re.fullmatch(r"(?:node|engine)\.[A-Za-z0-9._-]+ ?(?:==|!=) ?[A-Za-z0-9._/:-]+", one):
            raise ValueError(f'holds "{one}", which is no constraint of Swarm: write node.labels.notebooks==true')
    return found


def read_engine(value: str) -> str:
    """Check the name of an engine: one of ours, or one that an installed package declares."""
    if value != AUTO_ENGINE and value not in OUR_ENGINES and value not in (others := engines_of_others().names):
        known = " or ".join([AUTO_ENGINE, *OUR_ENGINES, *sorted(others)])
        raise ValueError(f"is not among its values: choose {known} (or install the package that has this engine)")
    return value


def read_runtime(value: str) -> str:
    """Check the name of a container runtime; which there are, only the engine knows."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}", value):
        raise ValueError("is not the name of a runtime: docker info shows them")
    return value


def read_network_name(value: str) -> str:
    """Check the name of a network of the engine."""
    if value in ("host", "none"):
        instead = {"host": "use host_network", "none": "leave the option out; that is what Unix sockets bring"}
        raise ValueError(f"is not a network that containers are reached on: {instead[value]}")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}", value):
        raise ValueError("is not the name of a network: docker network ls shows them")
    return value


def read_user(value: str) -> str:
    """Check a user, with or without a group."""
    part = r"(?:[0-9]{1,9}|[a-z_][a-z0-9_-]{0,31})"
    if not re.fullmatch(rf"{part}(?::{part})?", value):
        raise ValueError("is not a user: write a number or a name of the image, such as 1000, 1000:100 or jovyan")
    return value


def read_mounts(value: object) -> object:
    """Parse `/host:/mount:ro` and tmpnb's shorter forms: the mode defaults to rw, the mount to `/mnt/volN`."""
    parts = _parts(value, "/home/data:/data:ro")
    mounts = tuple(part if isinstance(part, Mount) else _mount(part, index) for index, part in enumerate(parts))
    targets = [mount.target for mount in mounts]
    for target in targets:
        if targets.count(target) > 1:
            raise ValueError(f"mounts more than one directory at {target}: give each a place of its own")
    return mounts


EVERYTHING = ("0.0.0.0/0", "::/0")
_MODES = {"": False, "rw": False, "w": False, "ro": True, "r": True}
_RESERVED = ("/", "/proc", "/sys", "/dev", "/run/tmpnb")


def _mount(part: object, index: int) -> Mount:
    """Parse one mount; `index` numbers the default place of one that names none."""
    source, *rest = str(part).split(":")
    if len(rest) == 1 and rest[0] in _MODES:
        rest = ["", *rest]
    target, mode, *more = [*rest, "", ""][: max(2, len(rest))]
    if more or mode not in _MODES:
        raise ValueError(f'holds "{part}", which cannot be read: write /host:/mount:ro, or rw in place of ro')
    target = posixpath.normpath(target or f"/mnt/vol{index}")
    for path in (source, target):
        if not path.startswith("/") or ".." in path.split("/"):
            raise ValueError(f'holds "{part}", where "{path}" is not a whole path: begin it with /')
    if target in _RESERVED:
        raise ValueError(f'holds "{part}", but {target} belongs to the container itself: mount it elsewhere')
    return Mount(posixpath.normpath(source), target, read_only=_MODES[mode])


def read_extra_hosts(value: object) -> object:
    """Parse `name:address` pairs."""
    return tuple(_extra_host(str(part)) for part in _parts(value, "db.example.org:10.0.0.5"))


def _extra_host(part: str) -> str:
    name, _, address = part.partition(":")
    try:
        if address != "host-gateway":  # Docker's own word for the host
            address = str(ipaddress.ip_address(address.strip("[]")))
        return f"{read_host(name)}:{address}"
    except ValueError:
        raise ValueError(f'holds "{part}", which is not name:address: write db.example.org:10.0.0.5') from None


def read_origins(value: object) -> object:
    """Parse origins; `*` and `null` are accepted."""
    return tuple(_origin(str(part)) for part in _parts(value, "https://example.org"))


def read_named_origins(value: object) -> object:
    """Parse origins that name a site: neither `*` nor `null`."""
    origins = tuple(_origin(str(part)) for part in _parts(value, "https://example.org"))
    if unnamed := [origin for origin in origins if origin in ("*", "null")]:
        raise ValueError(f'holds "{unnamed[0]}", which names no site: write https://example.org')
    return origins


# CSP 3, "host-source" with a scheme and without a path, which `frame-ancestors` does not look at.
_ANCESTOR = re.compile(
    r"https?://(?:\*\.)?(?:[a-z0-9_-]+\.)*[a-z0-9_-]+(?::(?:[0-9]{1,5}|\*))?|https?://\[[0-9a-f:]+\](?::[0-9]{1,5})?"
)


def read_ancestors(value: object) -> object:
    """Parse the sources of a `frame-ancestors` policy."""
    return tuple(_ancestor(str(part)) for part in _parts(value, "https://lms.example.org"))


def _ancestor(part: str) -> str:
    """Normalise a source of `frame-ancestors` to the form that the policy needs."""
    source = part.lower().strip("'\"").removesuffix("/")
    if source in ("self", "*"):
        return {"self": "'self'"}.get(source, source)
    if source == "none":
        raise ValueError(
            'holds "none", which names no site: leave the option out, and no page shows notes in a frame'
        )
    if not _ANCESTOR.fullmatch(source):
        raise ValueError(
            f'holds "{part}", which is not a site: write https://lms.example.org (scheme and host, no path), '
            "https://*.example.org, self or *"
        )
    return source


def read_binder_specs(value: object) -> object:
    """Parse rules that map a BinderHub repository to a workshop."""
    return tuple(binder_spec.read_rule(str(part)) for part in _parts(value, "gh/org/repo=workshop"))


def _origin(part: str) -> str:
    if part in ("*", "null"):
        return part
    # As browsers write it (Fetch standard, "serializing an origin"): no path, no default port, all in lower case.
    found = re.fullmatch(r"(https?)://([a-z0-9.-]+|\[[0-9a-f:]+\])(:[0-9]{1,5})?/?", part.lower())
    if found is None:
        raise ValueError(f'holds "{part}", which is not a site\'s origin: write https://example.org, or * for all')
    scheme, host, port = found.groups("")
    return f"{scheme}://{host}{'' if port == {'http': ':80', 'https': ':443'}[scheme] else port}"


def read_header_list(value: str) -> str:
    """Check a comma list of methods or header names; it goes into its header unchanged."""
    if not re.fullmatch(r"[\w!#$%&'*+.^`|~-]+(?: *, *[\w!#$%&'*+.^`|~-]+)*", value, re.ASCII):
        raise ValueError("is not a list of names: write them with commas, such as GET, POST")
    return value


def _parts(value: object, example: str) -> list[object]:
    """Split a comma list; an array in the file is taken as it is."""
    parts = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
    if not isinstance(parts, list | tuple):
        raise ValueError(f"is not a list: write {example}")
    return [part for part in parts if part != ""]


def read_networks(value: object) -> object:
    """Parse addresses and networks."""
    return tuple(_network(part) for part in _parts(value, "127.0.0.1,10.0.0.0/8"))


def read_reach(value: object) -> object:
    """Parse addresses and networks; `*` is every one."""
    parts = _parts(value, "10.1.0.0/16,10.2.3.4")
    return tuple(_network(one) for part in parts for one in (EVERYTHING if part == "*" else (part,)))


def read_file_of_engine(value: str) -> str:
    """Check the path of a file on the engine's host, which need not be this one."""
    if not value.startswith("/") or set(value) & set(":,\0\n"):
        raise ValueError("is not the absolute path of a file (without colon and comma)")
    return value


def read_web_hosts(value: object) -> object:
    """Parse hosts that may be reached: names, `*.` before one for all below it, each with a port or none."""
    return tuple(web_targets.read_entry(str(part)) for part in _parts(value, "pypi.org,*.pythonhosted.org"))


def read_ports(value: object) -> object:
    """Parse TCP ports."""
    parts = tuple(str(part) for part in _parts(value, "80,443"))
    for part in parts:
        if not _is_port(part):
            raise ValueError(f'holds "{part}", which is no port: write 80,443')
    return tuple(map(int, parts))


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdecimal() and 0 < int(text) < 65536


def read_protections(value: object) -> object:
    """Parse names of protections."""
    known = [one.value for one in Protection]
    parts = _parts(value, "network")
    for part in parts:
        if part not in known:
            raise ValueError(f'holds "{part}", which is no protection: choose among {", ".join(known)}')
    return tuple(parts)


def _network(part: object) -> Network:
    if isinstance(part, ipaddress.IPv4Network | ipaddress.IPv6Network):
        return part
    text = part if isinstance(part, str) else repr(part)
    try:
        loose = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f'holds "{text}", which is not an address or network: write 127.0.0.1,10.0.0.0/8') from None
    host = ipaddress.ip_interface(text).ip
    if host != loose.network_address:
        # Guessing would trust either one machine or a whole network too much.
        raise ValueError(f'holds "{text}", which is ambiguous: write {host} for the one or {loose} for all')
    return loose
