"""The program: its commands, the options that all of them take, and its exit status."""

from __future__ import annotations

import errno
import logging
import os
import re
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from orbistem import __version__
from orbistem.cli.compare import compare_command
from orbistem.cli.console import current, open_session
from orbistem.cli.convert import convert_command
from orbistem.cli.demo import demo_command
from orbistem.cli.fit import fit_command
from orbistem.cli.info import info_command
from orbistem.cli.naming import as_typed, options_of
from orbistem.cli.simulate import simulate_command
from orbistem.cli.symmetry import symmetry_command
from orbistem.cli.transform import transform_command
from orbistem.cli.verify import verify_command
from orbistem.durable import disk_error
from orbistem.errors import InputError, OptionError, OrbistemError, OutputError

__all__ = ["app", "main"]

logger = logging.getLogger(__name__)

OK, BUG, WRONG, INTERRUPTED = 0, 1, 2, 130
_BAD_NAMES = {
    errno.ENOENT: "this file is gone, or was never there",
    errno.ENAMETOOLONG: "this name is too long",
    errno.ENOTDIR: "a file stands where a folder should be",
    errno.ELOOP: "links lead in a circle",
}
_failed_writes: list[OutputError] = []
_typed: list[Any] = [None, []]  # the program, and what was typed
_FLAGS = {"--json", "-v", "-vv", "--verbose", "-q", "--quiet"}
_WITH_VALUE = {"--log-file"}
EPILOG = "Every command also takes --json, -v, -q and --log-file FILE; orbistem --help explains them."


class _AnywhereGroup(TyperGroup):
    """The options of the program are understood before and after the command's name."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Bring the program's own options to the front."""
        return super().parse_args(ctx, _own_first(list(args)))


app = typer.Typer(
    name="orbistem",
    cls=_AnywhereGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(asked: bool) -> None:
    if asked:
        print(f"orbistem {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and stop.", is_eager=True, callback=_print_version),
    ] = False,
    verbose: Annotated[
        int, typer.Option("-v", "--verbose", count=True, help="Say what is done; -vv: all.")
    ] = 0,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Say nothing but errors.")] = False,
    log_file: Annotated[
        Path | None, typer.Option("--log-file", help="Write a detailed log into this file.", metavar="FILE")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a machine-readable summary on stdout.")
    ] = False,
) -> None:
    """Find what breaks the symmetry of a material, from its diffraction patterns.

    Progress goes to stderr. Exit status: 0 well; 2 wrong use or unusable input (one sentence says what to
    do); 130 interrupted; 1 a bug of ours.
    """
    del version  # its callback has ended the program
    open_session(verbose=verbose, quiet=quiet, as_json=as_json, log_file=log_file)


for _name, _command in (
    ("demo", demo_command),
    ("info", info_command),
    ("convert", convert_command),
    ("simulate", simulate_command),
    ("fit", fit_command),
    ("transform", transform_command),
    ("symmetry", symmetry_command),
    ("compare", compare_command),
    ("verify", verify_command),
):
    app.command(_name, epilog=EPILOG)(_command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program and end the process with its exit status."""
    sys.unraisablehook, sys.excepthook = _unraisable, _unhandled
    status = run(sys.argv[1:] if arguments is None else arguments)
    if _failed_writes:  # HDF5 would try to finish the file that it could not write, and crash
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def run(arguments: Sequence[str]) -> int:
    """Run the program; return its exit status."""
    _use_utf8()
    command = typer.main.get_command(app)
    _typed[:] = [command, list(arguments)]
    try:
        _require_names(arguments)
        status = command.main(args=list(arguments), prog_name="orbistem", standalone_mode=False)
    except KeyboardInterrupt:
        return _interrupted()
    except OrbistemError as error:
        return _wrong(error)
    except BrokenPipeError:
        return OK  # whoever read our output has seen enough
    except MemoryError as error:
        logger.debug("stopped", exc_info=error)
        return _wrong(
            InputError("there is not enough memory for this; give a smaller --memory, or bin the patterns")
        )
    except OSError as error:
        if error.errno in _BAD_NAMES and error.filename is not None:
            return _wrong(InputError(f"{error.filename}: {_BAD_NAMES[error.errno]}; give another name"))
        told = disk_error(error, Path(str(error.filename or "the output")))
        known = any(words in str(told) for words in ("disk full", "larger than the disk", "permission"))
        return _wrong(told) if known else _bug()
    except Exception as error:
        return _of_parser(error)
    if status == INTERRUPTED:  # the option parser turns Ctrl-C into a status of its own
        return _interrupted()
    return status if isinstance(status, int) else OK


def _unraisable(fault: Any) -> None:
    """Errors in clean-up, as of a file that could not be written: its first error is told already."""
    logger.debug("ignored in %r: %s", fault.object, fault.exc_value)


def _unhandled(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """HDF5's own clean-up reports here; `run` has handled everything else."""
    if "decrement id ref count" in str(error):
        logger.debug("ignored: %s", error)
    else:
        sys.__excepthook__(kind, error, trace)


def _of_parser(error: Exception) -> int:
    """Errors of the option parser, by their protocol: it may come from Click, or from Typer's copy of it."""
    name = type(error).__name__
    if name == "Abort":
        return _interrupted()
    if name == "Exit":
        status = int(getattr(error, "exit_code", OK))
        return _interrupted() if status == INTERRUPTED else status
    if hasattr(error, "format_message") and hasattr(error, "exit_code"):
        text = str(error.format_message()).strip()
        if name == "NoArgsIsHelpError":
            sys.stderr.write(f"{text}\n")
        else:
            where = getattr(getattr(error, "ctx", None), "command_path", "orbistem")
            sys.stderr.write(f"orbistem: {text.rstrip('.')}; see {where} --help\n")
        return WRONG
    return _bug()


def _wrong(error: OrbistemError) -> int:
    if isinstance(error, OutputError):
        _failed_writes.append(error)
    text = " ".join(_in_options(str(error)).split())  # what stands in a damaged file may hold line ends
    sys.stderr.write(f"orbistem: {text}\n")
    logger.debug("stopped", exc_info=error)
    return WRONG


def _require_names(arguments: Sequence[str]) -> None:
    """Refuse an empty argument, which as a path would be the current folder: no value of ours is empty."""
    for before, argument in zip(["", *arguments], arguments, strict=False):
        if not argument.strip() or re.fullmatch(r"--?[\w-]+=\s*", argument):
            after = argument.rstrip("= ") or before
            where = f"after {after}" if after else "as the first"
            raise OptionError(
                f"want a name or a number, got an empty argument {where}; give one (is a variable of the "
                "shell not set?)"
            )


def _in_options(text: str) -> str:
    """A sentence of the library in the words of the command that was typed."""
    command, arguments = _typed
    known = getattr(command, "commands", {})
    name = next((one for one in _own_first(arguments) if one in known), None)
    return as_typed(text, options_of(known.get(name)), arguments)


def _interrupted() -> int:
    sys.stderr.write("orbistem: interrupted; a fit goes on with the same command and --resume\n")
    return INTERRUPTED


def _bug() -> int:
    if current().quiet:
        traceback.print_exc(limit=1)
    else:
        traceback.print_exc()
    sys.stderr.write("orbistem: this is a bug of ours; please report it with the lines above\n")
    return BUG


def _own_first(arguments: list[str]) -> list[str]:
    own: list[str] = []
    rest: list[str] = []
    waiting = iter(arguments)
    for argument in waiting:
        if argument == "--":
            rest += [argument, *waiting]
        elif argument in _FLAGS or argument.split("=")[0] in _WITH_VALUE:
            own.append(argument)
            if argument in _WITH_VALUE:
                own += [value for value in [next(waiting, None)] if value is not None]
        else:
            rest.append(argument)
    return own + rest


def _use_utf8() -> None:
    """Units and file names print everywhere: into a pipe on Windows, and names that are no UTF-8."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
