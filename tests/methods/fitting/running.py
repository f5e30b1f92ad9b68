"""A short run of fitting, as the tests of fitting need it."""

from dataclasses import replace
from pathlib import Path

from e2llm.methods import make_method
from e2llm.methods.fitting.run import fit
from e2llm.methods.fitting.settings import FitSettings

DECODERS = ["continual", "longlora", "clex"]
SETTINGS = FitSettings(
    steps=6,
    learning_rate=5e-3,
    batch_size=2,
    chunks=2,
    document_tokens=120,
    save_every=3,
    log_every=1,
)


def fit_named(name: str, pair, sources, output: Path, say=str, **changes) -> Path:
    """Fit a method by its name."""
    return fit(make_method(name, pair), sources, replace(SETTINGS, **changes), output, say=say)
