"""E2LLM and every rival, one file each, behind the one interface of `base.Method`.

The kinds are folders: `bounds`, `text`, `position`, `attention`, `compression`. Every file in them
is a method, but `base`, which holds what the kind shares. `decoders` and `fitting` hold no methods:
what methods make of the pair's decoder, and how those with weights of their own are trained.

A method is named as in `METHODS`, with other hyper-parameters after colons where they are wanted:
`e2llm:ratio=16:expand=2`. One from outside takes a line: `METHODS["mine"] = Mine`.
"""

import json
from collections.abc import Callable
from functools import partial

from e2llm.checks import check_choice
from e2llm.errors import UserError
from e2llm.methods.attention.lm_infinite import LmInfinite
from e2llm.methods.attention.longlora import LongLora
from e2llm.methods.attention.streaming_llm import StreamingLlm
from e2llm.methods.base import Method
from e2llm.methods.bounds.full_text import BaseFullText, FullText
from e2llm.methods.bounds.no_document import NoDocument
from e2llm.methods.compression.cepe import Cepe
from e2llm.methods.compression.e2llm import SoftTokenReading
from e2llm.methods.compression.flexrag import FlexRag
from e2llm.methods.compression.focusllm import FocusLlm
from e2llm.methods.compression.lloco import Lloco
from e2llm.methods.compression.planned import PlannedReading, UniformReading
from e2llm.methods.fitting.trainable import TrainableMethod
from e2llm.methods.position.clex import Clex
from e2llm.methods.position.continual import Continual
from e2llm.methods.position.ntk import DynamicNtk
from e2llm.methods.position.resonance import Resonance
from e2llm.methods.position.yarn import Yarn
from e2llm.methods.text.longllmlingua import LongLlmLingua
from e2llm.methods.text.rag import Rag
from e2llm.methods.text.truncation import Truncation
from e2llm.pair import E2LLM

METHODS: dict[str, Callable[..., Method]] = {
    "no-document": NoDocument,
    "e2llm": SoftTokenReading,
    "e2llm-paper": partial(SoftTokenReading, ratio="chunk", expand=0),
    "e2llm-4": partial(SoftTokenReading, ratio=4, expand=0),
    "e2llm-16": partial(SoftTokenReading, ratio=16, expand=0),
    "e2llm-64": partial(SoftTokenReading, ratio=64, expand=0),
    "planned": PlannedReading,
    "top-text": partial(PlannedReading, text=1.0),
    "uniform": UniformReading,
    "flexrag": FlexRag,
    "head": partial(Truncation, keeps="head"),
    "tail": partial(Truncation, keeps="tail"),
    "ends": partial(Truncation, keeps="ends"),
    "rag": Rag,
    "longllmlingua": LongLlmLingua,
    "yarn": Yarn,
    "ntk": DynamicNtk,
    "resonance": Resonance,
    "streaming-llm": StreamingLlm,
    "lm-infinite": LmInfinite,
    "continual": Continual,
    "longlora": LongLora,
    "clex": Clex,
    "cepe": Cepe,
    "lloco": Lloco,
    "focusllm": FocusLlm,
    "full-text-base": BaseFullText,
    "full-text": FullText,
}


def make_method(spec: str, pair: E2LLM) -> Method:
    """Make a method from its name, with other hyper-parameters than its own after colons.

    Raises:
        UserError: The name or a hyper-parameter is unknown; the nearest is suggested.
    """
    name, *changes = spec.split(":")
    make = METHODS[check_choice("methods", name, list(METHODS), "e2llm.methods.METHODS")]
    settings = {}
    for change in changes:
        field, equals, value = change.partition("=")
        if not equals:
            raise UserError(
                f"`methods` (={spec!r}): {change!r} must have the form FIELD=VALUE, as in "
                "e2llm:ratio=16:expand=2."
            )
        check_choice(f"methods: {name}", field, list(make(pair).settings))
        settings[field] = _value(value)
    return make(pair, **settings)


def trainable_names() -> list[str]:
    """Return the names of the methods that `e2llm fit` trains."""
    names = []
    for name, make in METHODS.items():
        kind = make.func if isinstance(make, partial) else make
        if isinstance(kind, type) and issubclass(kind, TrainableMethod):
            names.append(name)
    return names


def _value(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text
