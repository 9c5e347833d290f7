"""`factory`: one command a verb. Loads neither torch nor Ray until a verb runs."""

from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from factory.errors import FactoryError
from factory.refused import found_of
from jobs import import_weights, mix, status, verify
from jobs.demo import command as demo
from jobs.doctor import command as doctor
from jobs.downstream import command as downstream
from jobs.evaluate import command as evaluate
from jobs.export import command as export
from jobs.generate import command as generate
from jobs.ingest import command as ingest
from jobs.layouts import command as layouts
from jobs.report import command as report
from jobs.strict_flags import Verb
from jobs.train import command as train
from jobs.view import command as view
from manifests.errors import ManifestError
from models.errors import CheckpointError

_USER_ERRORS = (FactoryError, ManifestError, CheckpointError)

_NO_FOLDER = "found a file; expected a folder there, or nothing. Name another path."
_REFUSED: dict[type[OSError], str] = {
    FileExistsError: _NO_FOLDER,
    NotADirectoryError: _NO_FOLDER,
    IsADirectoryError: "found a folder; expected a file there. Name another path, or remove it.",
}


def _refused(error: OSError) -> str:
    """Return what the system refuses, where, and the way out."""
    # One that a library made has a text alone.
    found = str(error) if error.errno is None else f"found {found_of(error)}"
    told = _REFUSED.get(type(error)) or (
        f"{found}; expected a path that can be used. Check it, its permissions and the free space."
    )
    return f"{error.filename}: {told}" if error.filename else told


class _Verbs(TyperGroup):
    """Prints what a user can mend in one line; anything else is a bug and keeps its traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except _USER_ERRORS as error:
            typer.echo(f"error: {' '.join(str(error).split())}", err=True)
            raise typer.Exit(getattr(error, "exit_code", 1)) from error
        except OSError as error:
            # A path, a permission, a full disk: nothing of ours, and the text says what.
            if isinstance(error, BrokenPipeError):
                raise
            typer.echo(f"error: {_refused(error)}", err=True)
            raise typer.Exit(1) from error
        except KeyboardInterrupt as error:
            typer.echo("interrupted: the same command goes on from what is finished", err=True)
            raise typer.Exit(130) from error


_HELP = """Synthetic lung-CT datasets from real scans: ingest, train, generate, mix.

    Synthetic volumes keep the donor's anatomy outside the lungs: they are not
    anonymised, and not for clinical use.

    \b
    Example:
        factory ingest scans && factory generate --ratio 0.25
    """

app = typer.Typer(
    cls=_Verbs,
    # Rich boxes re-wrap the examples, so that they no longer paste.
    rich_markup_mode=None,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"max_content_width": 100},
)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(version("ct-factory"))
        raise typer.Exit


@app.callback(help=_HELP)
def root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Take the flags that come before a verb."""


app.command("ingest", cls=Verb)(ingest.command)
app.command("layouts", cls=Verb)(layouts.command)
app.command("train", cls=Verb)(train.command)
app.command("generate", cls=Verb)(generate.command)
app.command("mix", cls=Verb)(mix.command)
app.command("status", cls=Verb)(status.command)
app.command("verify", cls=Verb)(verify.command)
app.command("evaluate", cls=Verb)(evaluate.command)
app.add_typer(downstream.app, name="downstream")
app.command("report", cls=Verb)(report.command)
app.command("view", cls=Verb)(view.command)
app.command("export", cls=Verb)(export.command)
app.command("demo", cls=Verb)(demo.command)
app.command("doctor", cls=Verb)(doctor.command)
app.command("import-weights", cls=Verb)(import_weights.command)
