"""`docs/commands.md` has of each command the usage, the help and the options that the program has.

`docs/generate` writes that part.
"""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest

from tests.generated import DOCS, Part
from tmpnb_py.cli.main import cli
from tmpnb_py.cli.options import ADMIN_OPTIONS
from tmpnb_py.options.settings import OPTIONS

Leaf = tuple[click.Context, click.Command]


def leaves(context: click.Context, group: click.Group) -> Iterator[Leaf]:
    """All commands below a group, each with the context that knows its whole name."""
    for name in group.list_commands(context):
        command = group.commands[name]
        below = click.Context(command, info_name=name, parent=context)
        if isinstance(command, click.Group):
            yield from leaves(below, command)
        else:
            yield below, command


def all_commands() -> list[Leaf]:
    return list(leaves(click.Context(cli, info_name="tmpnb-py"), cli))


def section(context: click.Context, command: click.Command) -> str:
    """What the page says of one command."""
    name = context.command_path.removeprefix("tmpnb-py ")
    usage = f"{context.command_path} {' '.join(command.collect_usage_pieces(context))}"
    parts = [f"### `{name}`", f"`{usage}`", _paragraphs(command.help or "")]
    settings = [one for one in command.params if one.name in OPTIONS]
    theirs = {"help", "config", *OPTIONS, *(one.name for one in cli.commands["serve"].params)}
    own = [one for one in command.params if isinstance(one, click.Option) and not one.hidden]
    rows = [_row(context, one) for one in own if one.name not in theirs]
    if rows:
        parts.append("\n".join(["| option | meaning |", "|---|---|", *rows]))
    parts.append(_shared([one.name or "" for one in settings], has_config=any(one.name == "config" for one in own)))
    return "\n\n".join(part for part in parts if part)


def _paragraphs(text: str) -> str:
    return "\n\n".join(" ".join(one.split()) for one in text.replace("\b\n", "").split("\n\n"))


def _row(context: click.Context, option: click.Option) -> str:
    record = option.get_help_record(context)
    assert record is not None
    names, meaning = (part.replace("|", "\\|") for part in record)
    return f"| `{names}` | {' '.join(meaning.split())} |"


def _shared(settings: list[str], *, has_config: bool) -> str:
    """A sentence on the options that several commands have."""
    known = [f"`{OPTIONS[one].flag}`" for one in settings]
    admin = [f"`{OPTIONS[one].flag}`" for one in ADMIN_OPTIONS]
    config = ", and `--config`" if has_config else ""
    if len(known) > 40:
        return f"It takes [the options of `serve`](options.md){config}."
    if known == admin:
        return f"It finds the service by the [options](options.md) {', '.join(known)}{config}."
    if known:
        return f"Of [the options](options.md) it takes {', '.join(known)}{config}."
    return ""


def _sections() -> str:
    return "\n\n".join(section(*one) for one in all_commands()) + "\n"


PARTS = [Part(DOCS / "commands.md", "commands", _sections)]


def test_every_command_is_documented_as_it_is() -> None:
    PARTS[0].check()


@pytest.mark.parametrize(("context", "command"), all_commands(), ids=lambda one: getattr(one, "command_path", ""))
def test_every_option_says_what_it_means(context: click.Context, command: click.Command) -> None:
    for option in command.params:
        if isinstance(option, click.Option) and not option.hidden:
            assert option.help, (context.command_path, option.name)
