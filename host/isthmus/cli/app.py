"""The application: the host's own commands, and those other packages add.

The generator's commands are found through the entry point group ``isthmus.commands``; the host
never imports the generator by name.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from importlib.metadata import entry_points

import click
import typer

from isthmus import __version__
from isthmus.cli import frames
from isthmus.errors import IsthmusError, OptionError

__all__ = ["make_app", "run"]


def make_app() -> typer.Typer:
    """The typer application with every installed command."""
    app = typer.Typer(
        name="isthmus",
        help="Cut a trained network at one tensor: firmware in front, a host behind.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )

    @app.callback(invoke_without_command=True)
    def root(
        version: bool = typer.Option(False, "--version", help="Print the version and exit."),
    ) -> None:
        if version:
            typer.echo(__version__)
            raise typer.Exit

    frames.register(app)
    for point in sorted(entry_points(group="isthmus.commands"), key=lambda entry: entry.name):
        point.load()(app)
    return app


def run(arguments: Sequence[str]) -> int:
    """Runs one command line; the exit code. Errors are one line on standard error.

    With ``--json`` an error is also printed as {"error": {...}} on standard output.
    """
    command = typer.main.get_command(make_app())
    as_json = "--json" in arguments
    try:
        result = command.main(args=list(arguments), prog_name="isthmus", standalone_mode=False)
    except IsthmusError as error:
        return _report(error, as_json)
    except click.exceptions.NoArgsIsHelpError as error:
        sys.stdout.write(error.format_message() + "\n")
        return 2
    except click.ClickException as error:
        where = getattr(error, "ctx", None)
        path = where.command_path if where is not None else "isthmus"
        return _report(
            OptionError(path, _one_line(error.format_message()), remedy=f"see `{path} --help`"),
            as_json,
        )
    except (click.Abort, KeyboardInterrupt):
        sys.stderr.write("interrupted\n")
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 141
    return result if isinstance(result, int) else 0


def _report(error: IsthmusError, as_json: bool) -> int:
    if as_json:
        sys.stdout.write(json.dumps({"error": error.as_dict()}) + "\n")
    sys.stderr.write(f"error: {_one_line(str(error))}\n")
    return error.exit_code


def _one_line(text: str) -> str:
    return " ".join(text.split())
