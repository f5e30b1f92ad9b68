"""The command line: one file per verb, its nouns and verbs those of the Python API.

Nothing here imports torch: each verb imports what it needs when it runs, so that `e2llm --help` is instant.
"""

import sys

import typer

from e2llm.cli import ask, compress, library, merge, models, pair, show
from e2llm.errors import E2LLMError

app = typer.Typer(
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
app.add_typer(library.app, name="library")


def main() -> None:
    """Run the command line; an error is one line, exit code 2 for the user's mistake and 1 for a failure."""
    try:
        app()
    except E2LLMError as error:
        _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        _fail("interrupted; what was stored before is untouched.", 130)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of the output has gone: nothing is left to say
        sys.exit(1)
    except MemoryError:
        _fail("out of memory; ask fewer documents at once, or compress with a higher ratio.", 1)
    except OSError as error:
        _fail(f"{error.filename or 'the system'}: {error.strerror or error}.", 1)


def _fail(message: str, code: int) -> None:
    print(f"e2llm: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)
