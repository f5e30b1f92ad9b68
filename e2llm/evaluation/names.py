"""The names of methods and scores that people read in tables and figures.

No torch here.
"""

from collections import Counter
from collections.abc import Iterable

E2LLM_NAME = "E2LLM"
NAMES = {
    "no-document": "No document (floor)",
    "full-text": "Whole text (ceiling)",
    "full-text-base": "Whole text, decoder without LoRA",
    "rag": "RAG",
    "head": "Head of the text",
    "tail": "Tail of the text",
    "ends": "Head and tail of the text",
    "planned": "Plan by budget",
    "top-text": "Best chunks as text",
    "uniform": "All at one ratio",
    "flexrag": "FlexRAG",
    "longllmlingua": "LongLLMLingua",
    "yarn": "YaRN",
    "ntk": "Dynamic NTK",
    "resonance": "Resonance RoPE",
    "streaming-llm": "StreamingLLM",
    "lm-infinite": "LM-Infinite",
    "continual": "Continual pretraining",
    "longlora": "LongLoRA",
    "clex": "CLEX",
    "cepe": "CEPE",
    "lloco": "LLoCO",
    "focusllm": "FocusLLM",
}
# Methods that may use as many positions as E2LLM does at the ratio and expansion of their settings.
EQUAL_BUDGET = ("rag", "head", "tail", "ends", "longllmlingua")
# From this ratio on, E2LLM's positions are those of its expanded chunks.
CHUNKS_ALONE = 10_000
SHORT_FORMS = {
    "e2llm-paper": "ratio=chunk:expand=0",
    **{f"e2llm-{ratio}": f"ratio={ratio}:expand=0" for ratio in (4, 16, 64)},
}
SETTINGS = {
    "chunk_chars": "chunks of {} characters",
    "overlap_chars": "overlap of {} characters",
    "window_chunks": "{} chunks encoded together",
    "chunking": "{} chunking",
}
# Scores with their units, as axes name them.
SCORES = {
    "f1": "token F1, 0 to 100",
    "gmean": "ROUGE G-mean, 0 to 100",
    "needle": "score, 0 to 10",
    "exact_match": "exact matches, %",
    "contains": "answers found, %",
    "match_all": "answers found, %",
    "match_part": "answers found, %",
    "perplexity": "perplexity of the answer",
}


def name_of(spec: str) -> str:
    """Return what people call a method; an unknown one is its specification.

    Args:
        spec: As `evaluate` takes methods. What stands after " @ ", a model, is kept. A setting
            without a value is one that the figure varies, and is left out.

    Example:
        >>> name_of("e2llm:ratio=8:expand=0")
        'E2LLM, ratio 8, soft tokens only'
        >>> name_of("rag @ smol")
        'RAG, as many positions @ smol'
    """
    method, at, model = spec.partition(" @ ")
    base, _, rest = method.partition(":")
    settings = dict(part.partition("=")[::2] for part in rest.split(":") if part)
    if base == "e2llm" or base in SHORT_FORMS:
        short = SHORT_FORMS.get(base, "")
        # What is asked for beside a short form stands over what the form says.
        settings = dict(part.split("=") for part in short.split(":") if part) | settings
        name = ", ".join([E2LLM_NAME, *(_reading(settings) if settings else ["default"])])
    elif base in NAMES:
        name = _rival(base, settings)
    else:
        return spec
    return name + at + model


def names_of(specs: Iterable[str]) -> dict[str, str]:
    """Return the names of methods; those that would share one carry their specification too."""
    names = {spec: name_of(spec) for spec in specs}
    n_with = Counter(names.values())
    return {spec: name if n_with[name] == 1 else f"{name} ({spec})" for spec, name in names.items()}


def _reading(settings: dict[str, str]) -> list[str]:
    """Say in words how E2LLM reads a document."""
    settings = {field: value for field, value in settings.items() if value}
    ratio, expand = settings.pop("ratio", None), settings.pop("expand", None)
    words = []
    if ratio == "chunk":
        chars = settings.pop("chunk_chars", None)
        words.append("one soft token per chunk")
        words[0] += f" of {_number(chars)} characters" if chars else ""
    elif ratio:
        words.append(f"ratio {_number(ratio)}")
    if expand not in (None, "0"):
        words.append("1 chunk expanded" if expand == "1" else f"{expand} chunks expanded")
    elif ratio != "chunk" and expand == "0":
        words.append("soft tokens only")
    elif ratio == "chunk" and expand is None:
        words.append("default expansion")
    return words + _others(settings)


def _rival(base: str, settings: dict[str, str]) -> str:
    """Name a rival, with whose budget it has where that is not the default's."""
    name = NAMES[base] + (" (fitted)" if settings.pop("weights", None) else "")
    budget = {field: settings.pop(field, "") for field in ("ratio", "expand")}
    words = [name]
    if base in EQUAL_BUDGET and any(budget.values()):
        ratio, expand = budget["ratio"], budget["expand"]
        # A budget without soft tokens is the expanded chunks, as text.
        if ratio.isdecimal() and int(ratio) >= CHUNKS_ALONE and expand:
            words.append("1 chunk" if expand == "1" else f"{expand} chunks")
        else:
            words.append("as many positions as " + ", ".join([E2LLM_NAME, *_reading(budget)]))
    elif base == "rag":
        words.append("as many positions")
    return ", ".join(words + _others(settings))


def _others(settings: dict[str, str]) -> list[str]:
    """Say in words every setting that has no words of its own method."""
    return [
        SETTINGS.get(field, field.replace("_", " ") + " {}").format(_number(value))
        for field, value in settings.items()
        if value
    ]


def _number(text: str) -> str:
    """Return a whole number with commas at its thousands, and anything else as it is."""
    return f"{int(text):,}" if text.isdecimal() else text
