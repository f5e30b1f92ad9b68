"""Results made by hand: a few cells of every kind that a report shows."""

from pathlib import Path

from e2llm.evaluation.results import Results, Writer

# What the methods of these results are called.
FLOOR, OURS, CEILING = "No document (floor)", "E2LLM, default", "Whole text (ceiling)"
RUN = {
    "model": "smol",
    "digest": "d",
    "scale": "quick",
    "seed": 0,
    "methods": {
        name: {"role": role, "settings": {}}
        for name, role in (("no-document", "floor"), ("e2llm", ""), ("full-text", "ceiling"))
    },
    "benchmarks": ["squad", "needle", "cost"],
    "pair": {"encoder_name": "encoder", "decoder_name": "decoder", "trained": True},
    "dtype": "float32",
    "device": "cpu",
    "threads": 1,
    "commit": "abc",
    "versions": {"python": "3.11"},
    "machine": {"cpu": "a cpu", "cores": 2},
    "started": "2026-01-01T00:00:00+00:00",
}
COST = {
    "read_s": 1.0,
    "read_flops": 10,
    "flops": 10,
    "positions": 8,
    "n_answer_tokens": 3,
    "first_token_s": 1.0,
    "total_s": 2.0,
    "peak_bytes": 2**30,
}


def cell(method: str, benchmark: str, sample: str, groups: dict, **content: object) -> dict:
    """Return a cell; it was not skipped unless it is said."""
    given = content if "skipped" in content else {**COST, "answer": "x", "scores": {}, **content}
    return {
        "method": method,
        "settings": {},
        "benchmark": benchmark,
        "sample": sample,
        "digest": "d",
        "groups": groups,
        "n_tokens": 100,
        **given,
    }


def small_results() -> Results:
    """Return a question benchmark, a needle map, and costs that grow with the square.

    Of the question benchmark's two samples the ceiling reads one.
    """
    cells = []
    for method, scores in (
        ("no-document", (10, 0)),
        ("e2llm", (40, 20)),
        ("full-text", (50, None)),
    ):
        for place, score in enumerate(scores):
            groups = {"bucket": ("0-1K", "1-2K")[place]}
            content = (
                {"skipped": "window: it needs 9 decoder positions and the decoder's window holds 8"}
                if score is None
                else {"scores": {"f1": score}}
            )
            cells.append(
                cell(method, "squad", str(place), groups, **content)
                | {"n_tokens": 500 + 1000 * place}
            )
        for length in (1000, 4000):
            cells.append(
                cell(method, "cost", str(length), {"length": length}, read_s=length**2 / 1e6)
                | {"n_tokens": length}
            )
            for depth in (0, 50, 100):
                cells.append(
                    cell(
                        method,
                        "needle",
                        f"{length}-{depth}",
                        {"length": length, "depth": depth},
                        scores={"needle": depth / 10, "contains": 0},
                    )
                )
        cells.append(
            cell(
                method,
                "reconstruction",
                "0",
                {"length": 100},
                scores={"f1": 5, "nats": 1.0},
                token_nats=[1.0, 2.0, 3.0],
                chunk_starts=[0, 1],
            )
        )
    return Results([RUN], cells, {"quality": "no folder quality"})


def write(folder: Path, cells: list[dict], run: dict = RUN) -> None:
    """Write a folder of results."""
    with Writer(folder, run) as writer:
        writer.write("missing", {"name": "quality", "reason": "no folder quality"})
        for content in cells:
            writer.write("cell", content)


def of(results: Results, benchmark: str) -> list[dict]:
    """Return the cells of a benchmark."""
    return [cell for cell in results.cells if cell["benchmark"] == benchmark]
