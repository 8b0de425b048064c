"""Assembles the command line: one file a command, in the order of use."""

from __future__ import annotations

import errno
import importlib
import itertools
import os
import shlex
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.exceptions import TyperException

import serplatform
from serplatform import plugins, stopping
from serplatform.cli.options import Plugins, with_plugins
from serplatform.cli.output import secure_streams
from serplatform.console import end_stage, say
from serplatform.errors import BadInputError, InterruptedRunError, SerplatformError
from serplatform.storage.location import check_utf8

#: commands in the order of ``serplatform --help``; each is a module with one ``command``
COMMANDS = (
    "corpora",
    "download",
    "prepare",
    "join",
    "data",
    "search",
    "train",
    "ensemble",
    "unseal",
    "runs",
    "report",
    "predict",
    "evaluate",
    "explain",
    "reproduce",
    "export",
    "serve",
    "check",
    "new",
    "doctor",
)
#: options of a file or directory, after which another option is no name
_NAMED_PLACES = ("--out", "--data", "--figures", "--tables", "--segments")
#: which neither look members up nor open what was made with plugins
_WITHOUT_PLUGINS = ("check", "new", "doctor")

app = typer.Typer(
    name="serplatform",
    help="Hyperparameter search and ensembles for speech emotion recognition.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"serplatform {serplatform.__version__}")
        raise typer.Exit


def _cite(value: bool) -> None:
    if value:
        from serplatform.cli.cite import bibtex

        typer.echo(bibtex())
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
    cite: Annotated[
        bool, typer.Option("--cite", callback=_cite, is_eager=True, help="Show the BibTeX entry.")
    ] = False,
    plugin: Plugins = None,
) -> None:
    """Hyperparameter search and ensembles for speech emotion recognition.

    `serplatform search moma` runs on a built-in demo corpus; on your own data, `prepare` first.
    """
    plugins.load(plugin or [])


for _name in COMMANDS:
    _module = importlib.import_module(f"serplatform.cli.{_name}")
    _command = _module.command
    app.command(_name)(_command if _name in _WITHOUT_PLUGINS else with_plugins(_command))


def run(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit code; every foreseeable fault is one message."""
    secure_streams()
    stopping.begin()
    try:
        code = _run(arguments)
    except BaseException:
        if not stopping.is_asked():
            raise
        code = stopping.CODE  # whatever a stop became on its way through foreign code
    if code == stopping.CODE or (code and stopping.is_asked()):
        stopping.farewell(say)
        return stopping.CODE
    return code


def _run(arguments: list[str] | None) -> int:
    try:
        _check_directory_and_words(sys.argv[1:] if arguments is None else arguments)
        try:
            code = app(args=arguments, standalone_mode=False, prog_name="serplatform")
        finally:
            end_stage()
        sys.stdout.flush()
    except (KeyboardInterrupt, typer.Abort, InterruptedRunError):
        return stopping.CODE
    except TyperException as error:
        show = getattr(error, "show", None)  # usage errors show the usage first
        if show is None:
            say(f"Error: {error.format_message()}")
        else:
            show(file=sys.stderr)
            _say_what_is_missing(error, sys.argv[1:] if arguments is None else arguments)
        return error.exit_code
    except SerplatformError as error:
        say(f"Error: {error}")
        return error.exit_code
    except BrokenPipeError:
        return 1
    except OSError as error:
        from serplatform.storage.cache import cache_error

        fault = cache_error(error)
        if fault is not None:
            say(f"Error: {fault}")
            return fault.exit_code
        if error.errno not in _ENVIRONMENT_FAULTS:
            raise
        where = f" {error.filename}:" if error.filename else ""
        say(f"Error:{where} {error.strerror}; what was already whole is kept")
        return 1
    return code if isinstance(code, int) else 0


def _say_what_is_missing(error: TyperException, words: Sequence[str]) -> None:
    """Say what a missing argument or option is for, and the command with the option."""
    parameter: Any = getattr(error, "param", None)
    names = getattr(parameter, "opts", ())
    about = getattr(parameter, "help", None)
    if type(error).__name__ != "MissingParameter" or not names or not about:
        return
    place = parameter.metavar or "VALUE"
    if names[0][:2] != "--":
        say(f"{place}: {about}")
        return
    say(
        f"{names[0]} {place}: {about.partition('.')[0]}. Give the command with it:\n  "
        f"{shlex.join(['serplatform', *words])} {names[0]} {place}"
    )


def _check_directory_and_words(words: list[str]) -> None:
    """See that there is a current directory, and that Ray can record the command."""
    try:
        here = os.getcwd()
    except OSError:
        raise BadInputError(
            "the current directory is gone or closed to you; change to another"
        ) from None
    for option, value in itertools.pairwise(words):
        if option in _NAMED_PLACES and value.startswith("--"):
            raise BadInputError(
                f"{option} names no place, as {value} follows: write {option} and a name; "
                f"a name that begins so is ./{value}"
            )
    if words and words[0] in ("prepare", "search", "train", "reproduce"):
        for word in (*words, here):
            check_utf8(word)


_ENVIRONMENT_FAULTS = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EMFILE,
    errno.ENAMETOOLONG,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EIO,
}
