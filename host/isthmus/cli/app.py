"""The application: the host's own commands, and those other packages add.

The generator's commands are found through the entry point group ``isthmus.commands``; the host
never imports the generator by name.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import entry_points

import typer

from isthmus import __version__
from isthmus.cli import frames, keys, send, serve
from isthmus.errors import IsthmusError, OptionError
from isthmus.optional import quiet_engines

__all__ = ["make_app", "run"]

_INTERNAL = 70
_INTERRUPTED = 130
_TRACEBACK = "ISTHMUS_TRACEBACK"
# typer carries a click of its own and names its base exception nowhere; BadParameter is public,
# and its ancestors are UsageError and the base
_CommandError: type[BaseException] = typer.BadParameter.__mro__[2]


def make_app() -> typer.Typer:
    """The typer application with every installed command."""
    app = typer.Typer(
        name="isthmus",
        help="Cut a trained network at one tensor: firmware in front, a host behind.",
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )

    @app.callback(invoke_without_command=True)
    def root(
        context: typer.Context,
        version: bool = typer.Option(False, "--version", help="Print the version and exit."),
    ) -> None:
        if version:
            typer.echo(__version__)
            raise typer.Exit
        if context.invoked_subcommand is None:
            typer.echo(context.get_help())
            raise typer.Exit(2)

    frames.register(app)
    serve.register(app)
    keys.register(app)
    send.register(app)
    for point in sorted(entry_points(group="isthmus.commands"), key=lambda entry: entry.name):
        point.load()(app)
    return app


def run(arguments: Sequence[str]) -> int:
    """Runs one command line; the exit code. Errors are one line on standard error.

    With ``--json`` an error is also printed as {"error": {...}} on standard output.
    """
    as_json = "--json" in arguments
    try:
        with quiet_engines():  # this program's own standard error: no engine's start-up lines
            command = typer.main.get_command(make_app())
            result = command.main(args=list(arguments), prog_name="isthmus", standalone_mode=False)
    except IsthmusError as error:
        return _report(error, as_json)
    except _CommandError as error:
        return _report(_usage_error(error), as_json)
    except typer.Exit as done:
        return done.exit_code
    except (typer.Abort, KeyboardInterrupt):
        result = _INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return 141
    # The one broad handler, at the top of the program: Python would end with 1, which scripts read
    # as "firmware and reference differ". Nothing is hidden, for the line says how to see it all.
    except Exception as error:  # noqa: BLE001
        return _internal(error, as_json)
    if result == _INTERRUPTED:  # typer makes this number of a KeyboardInterrupt, in silence
        sys.stderr.write("interrupted\n")
    return result if isinstance(result, int) else 0


def _usage_error(error: BaseException) -> OptionError:
    """The command line's own complaint as one of ours."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "isthmus"
    message = getattr(error, "message", "") or str(error)
    text = error.format_message() if isinstance(error, typer.BadParameter) else message
    missing = getattr(error, "param", None)
    if not text.strip() and missing is not None:
        text = f"missing {missing.name}"
    return OptionError(path, _one_line(text).rstrip("."), remedy=f"see `{path} --help`")


def _report(error: IsthmusError, as_json: bool) -> int:
    if as_json and not error.printed:
        sys.stdout.write(json.dumps({"error": error.as_dict()}) + "\n")
    sys.stderr.write(f"error: {_one_line(str(error))}\n")
    return error.exit_code


def _internal(error: Exception, as_json: bool) -> int:
    """Reports a defect of ours: nothing that a user gave should end here."""
    what = _one_line(f"{type(error).__name__}: {error}")
    remedy = f"set {_TRACEBACK}=1 to see where"
    if os.environ.get(_TRACEBACK):
        traceback.print_exception(error)
    if as_json:
        report = {"code": 0, "name": "internal", "path": "isthmus", "what": what, "allowed": ""}
        sys.stdout.write(json.dumps({"error": {**report, "remedy": remedy}}) + "\n")
    sys.stderr.write(f"error: isthmus: internal error: {what}; {remedy}\n")
    return _INTERNAL


def _one_line(text: str) -> str:
    return " ".join(text.split())
