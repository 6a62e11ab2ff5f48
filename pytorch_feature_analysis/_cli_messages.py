"""What commands say: bad input in one line, log lines and warnings clear of progress bars."""

from __future__ import annotations

import contextlib
import errno
import logging
import re
import sys
import traceback
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import click

_BAD_INPUT = (ValueError, TypeError, OSError, LookupError, ImportError)
_QUOTED_ARGUMENT = re.compile(r"`(\w+)((?:\[[^`]*\])?)`")
# Short helps are short enough, and wrapped rather than cut off.
_ANY_LENGTH = 1000
_DEBUG = "pytorch_feature_analysis.debug"


class BadInputError(click.ClickException):
    """What the user gave cannot be worked with, in one line."""

    exit_code = 2

    def format_message(self) -> str:
        """Return the message as one line."""
        return " ".join(self.message.split())


class OneLineErrors(click.Command):
    """A command whose bad input ends in one line and exit code 2."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        with _usage_in_one_line():
            return super().make_context(*args, **kwargs)


class Group(OneLineErrors, click.Group):
    """Commands under headings, in the order in which they are added."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._sections: dict[str, list[str]] = {}

    def add_section(self, heading: str, commands: Iterable[click.Command]) -> None:
        """Add commands under a heading."""
        for command in commands:
            self.add_command(command)
            self._sections.setdefault(heading, []).append(str(command.name))

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write each section, all on one margin."""
        margin = max(map(len, self.commands))
        for heading, names in self._sections.items():
            with formatter.section(heading):
                formatter.write_dl(
                    [
                        (f"{name:<{margin}}", self.commands[name].get_short_help_str(_ANY_LENGTH))
                        for name in names
                    ]
                )

    def invoke(self, ctx: click.Context) -> Any:
        with _usage_in_one_line():
            return super().invoke(ctx)


class Step(OneLineErrors):
    """A step of the pipeline: errors of the library in the words of the command line.

    Parameters
    ----------
    says
        What the user typed for arguments that no option is named after.
    """

    def __init__(self, *args: Any, says: Mapping[str, str] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.append(
            click.Option(
                ["-v", "--debug"],
                is_flag=True,
                expose_value=False,
                callback=_keep_debug,
                help="Show what is logged, and the traceback of an error.",
            )
        )
        self._says = {parameter.name: _as_typed(parameter) for parameter in self.params}
        self._says.update(says or {})

    def invoke(self, ctx: click.Context) -> Any:
        debug = ctx.meta[_DEBUG]
        try:
            with _log_on_stderr(logging.INFO if debug else logging.WARNING):
                return super().invoke(ctx)
        except _BAD_INPUT as error:
            if isinstance(error, OSError) and error.errno == errno.EPIPE:
                raise
            if debug:
                traceback.print_exc()
            # The text of a KeyError is the repr of its message.
            message = error.args[0] if isinstance(error, KeyError) and error.args else error
            said = " ".join([str(message), *getattr(error, "__notes__", [])])
            raise BadInputError(self._translated(said)) from error

    def _translated(self, message: str) -> str:
        return _QUOTED_ARGUMENT.sub(
            lambda found: self._says.get(found[1], f"`{found[1]}{found[2]}`"), message
        )


def show_bars(quiet: bool) -> bool:
    """Tell whether progress bars are for somebody's eyes."""
    return not quiet and sys.stderr.isatty()


def _keep_debug(ctx: click.Context, _parameter: click.Parameter, debug: bool) -> None:
    ctx.meta[_DEBUG] = debug


def _as_typed(parameter: click.Parameter) -> str:
    if isinstance(parameter, click.Option):
        return max(parameter.opts, key=len)
    return parameter.human_readable_name


@contextlib.contextmanager
def _usage_in_one_line() -> Iterator[None]:
    try:
        yield
    except click.exceptions.NoArgsIsHelpError:
        raise
    except click.UsageError as error:
        hint = f" Try '{error.ctx.command_path} --help'." if error.ctx is not None else ""
        raise BadInputError(error.format_message() + hint) from error


@contextlib.contextmanager
def _log_on_stderr(level: int) -> Iterator[None]:
    """Show the library's log lines and all warnings on stderr, clear of progress bars."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            _say(self.format(record))

    def show(message: Any, category: Any, *_place: Any) -> None:
        _say(f"Warning: {message}" if issubclass(category, UserWarning) else str(message))

    library = logging.getLogger("pytorch_feature_analysis")
    handler, before = Handler(), library.level
    library.addHandler(handler)
    library.setLevel(level)
    try:
        with warnings.catch_warnings():
            # Put back at the end of the block.
            warnings.showwarning = show  # type: ignore[assignment] # as it is called
            yield
    finally:
        library.removeHandler(handler)
        library.setLevel(before)


def _say(line: str) -> None:
    from tqdm import tqdm

    tqdm.write(line, file=sys.stderr)
