"""The command line. ``typer`` and ``rich`` come with the extra ``cli``."""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """Entry point of the command ``isthmus``."""
    import sys

    try:
        import rich
        import typer
    except ImportError as error:
        sys.stderr.write(
            f"error: {error.name}: is not installed; "
            'the command line needs it: pip install "isthmus[cli]"\n'
        )
        raise SystemExit(4) from None
    del rich, typer
    from isthmus.cli.app import run

    raise SystemExit(run(sys.argv[1:]))
