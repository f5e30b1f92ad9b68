"""The command line: one file per verb, its nouns and verbs those of the API.

Nothing here imports torch: each verb imports what it needs when it runs, so that `e2llm --help` is
instant.
"""

import os
import sys
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from e2llm.cli import (
    ablate,
    ask,
    compress,
    data,
    evaluate,
    fit,
    library,
    merge,
    models,
    pair,
    report,
    show,
    train,
)
from e2llm.errors import E2LLMError


class Verbs(TyperGroup):
    """The verbs: an error is one line, with exit code 2 for the user's mistake, 1 for a failure."""

    def invoke(self, ctx: Any) -> Any:
        """Run the verb; errors end here, since the caller has its own words for some of them."""
        try:
            result = super().invoke(ctx)
            print(end="", flush=True)  # an output that cannot be written is an error too
            return result
        except E2LLMError as error:
            _fail(str(error), error.exit_code)
        except KeyboardInterrupt:
            _fail("interrupted; what was stored before is untouched.", 130)
        except BrokenPipeError:  # the reader of the output has gone: nothing is left to say
            _fail("", 1)
        except OSError as error:
            what = (error.strerror or str(error)).rstrip(".")
            _fail(f"{error.filename}: {what}." if error.filename else f"{what}.", 1)
        except (MemoryError, RuntimeError) as error:
            # torch tells of exhausted memory by a RuntimeError, recognised by its words alone.
            of_memory = "memory" in str(error) and "alloca" in str(error)
            if isinstance(error, RuntimeError) and not of_memory:
                raise
            _fail("out of memory; ask fewer documents at once, or compress with a higher ratio.", 1)


app = typer.Typer(
    cls=Verbs,
    help="Read documents far longer than a language model's window, and ask them questions.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("ask")(ask.ask)
app.command("compress")(compress.compress)
app.command("pair")(pair.pair)
app.command("show")(show.show)
app.command("models")(models.models)
app.command("merge")(merge.merge)
app.command("train")(train.train)
app.command("fit")(fit.fit)
app.command("evaluate")(evaluate.evaluate)
app.command("report")(report.report)
app.command("ablate")(ablate.ablate)
app.add_typer(library.app, name="library")
app.add_typer(data.app, name="data")


def main() -> None:
    """Run the command line."""
    app(prog_name="e2llm")


def _fail(message: str, code: int) -> NoReturn:
    if message:
        print(f"e2llm: {' '.join(message.split())}", file=sys.stderr)
    try:
        print(end="", flush=True)
    except OSError:  # what its buffer still holds must not fail once more when Python exits
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)
