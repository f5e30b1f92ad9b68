"""The harness's own command line, with the model `e2llm` in it."""

import sys

from lm_eval.__main__ import cli_evaluate

from e2llm.errors import E2LLMError


def main() -> None:
    """Run the harness's command line; our own errors are one line each."""
    try:
        cli_evaluate()
    except E2LLMError as error:
        print(f"e2llm: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
