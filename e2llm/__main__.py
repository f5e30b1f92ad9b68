"""`python -m e2llm` is the command line."""

from e2llm.cli import main

main()
