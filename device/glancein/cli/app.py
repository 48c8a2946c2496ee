"""The command tree and the options that every command shares."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.main import get_command

from glancein import __version__

app = typer.Typer(
    name="glancein",
    help="Attendance by a glance: enrol people from one badge photo, run the kiosk, receive the feed.",
    epilog="Start with: glancein demo. Exit codes: 0 done, 1 some items failed, 2 bad input, 3 database, "
    "4 camera, 5 feed, 6 model, 130 interrupted.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

DataFolder = Annotated[
    Path | None,
    typer.Option(
        "--data",
        envvar="GLANCEIN_DATA",
        help="Folder of the database and settings.toml; the user's data folder by default.",
        file_okay=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")]


def _print_version(*, wanted: bool) -> None:
    if wanted:
        print(f"glancein {__version__}")
        raise typer.Exit


@app.callback()
def common(
    *,
    _version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Print the version and exit.",
            is_eager=True,
            callback=lambda wanted: _print_version(wanted=wanted),
        ),
    ] = False,
) -> None:
    """Attendance by a glance: enrol people from one badge photo, run the kiosk, receive the feed."""


def load_commands() -> None:
    """Add every command to the tree; each module registers its own."""
    for module in (
        "enrol",
        "people",
        "look",
        "run",
        "feed",
        "connect",
        "desk",
        "measure",
        "models",
        "site",
        "trial",
    ):
        import_module(f"glancein.cli.{module}")


def command_tree() -> Any:  # Any: typer's own command class, which it moved between versions
    """Every command, ready to be called with its words."""
    load_commands()
    tree = get_command(app)
    _name_no_value_of_flags(tree, None)
    return tree


def _name_no_value_of_flags(command: Any, above: Any) -> None:  # Any: as above
    """Some versions of typer write ``<bool>`` after every flag in the help, as if it took a value."""
    context = typer.Context(command, parent=above, **command.context_settings)
    for parameter in command.get_params(context):
        if getattr(parameter, "is_flag", False):
            parameter.metavar = ""
    for child in getattr(command, "commands", {}).values():
        _name_no_value_of_flags(child, context)
