"""Measure how fast and in how much memory a pair reads, and how soon it answers.

Run it when nothing else runs.

    python bench/read_and_ask.py [--model smol] [--chars 1000000] [--output FOLDER]

Everything is measured in one run on one machine: the machine's own matrix-product rate (the
ceiling), the encoder's share of the time and the rate that it reaches there,
`SentenceTransformer.encode` with its defaults on the same chunks (the rival), peak memory at
several lengths, the first and the second question to a stored document, and how soon the command
line and the decoder are there. It ends with one line of JSON, and writes the same to a new file in
`--output`.
"""

import argparse
import json
import multiprocessing
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

QUESTIONS = ("What does the nonlocal statement do?", "How are default parameter values evaluated?")


def make_text(n_chars: int) -> str:
    """Repeat the Python language reference up to `n_chars` characters."""
    from pydoc_data import topics

    once = "\n\n".join(f"{name}\n{text}" for name, text in sorted(topics.topics.items()))
    return (once * (n_chars // len(once) + 1))[:n_chars]


def matmul_flops(dtype: str, size: int = 1536, seconds: float = 3.0) -> float:
    """Return the best floating-point operations per second of a square matrix product."""
    import torch

    # (size, size) each
    one, two = (torch.randn(size, size, dtype=getattr(torch, dtype)) for _ in range(2))
    best, start = 0.0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        begun = time.perf_counter()
        one @ two
        best = max(best, 2 * size**3 / (time.perf_counter() - begun))
    return best


def encoder_flops(config, lengths) -> float:
    """Return the operations that the encoder needs for rows of these lengths, without padding.

    Two per multiply-add.
    """
    width, layers, inner = config.hidden_size, config.num_hidden_layers, config.intermediate_size
    # Four square products of attention and two of the inner layer; scores and mix are squares.
    per_token = 2 * layers * (4 * width**2 + 2 * width * inner)
    return sum(per_token * length + 4 * layers * width * length**2 for length in lengths)


class EncoderClock:
    """Add up the time inside the encoder, and the tokens of the rows that it read."""

    def __init__(self, model) -> None:
        self.seconds, self.lengths, self.n_padded = 0.0, [], 0
        self.inner, model.encode = model.encode, self

    def __call__(self, input_ids, attention_mask):
        start = time.perf_counter()
        states = self.inner(input_ids, attention_mask)  # (n_rows, chunk_len, d_enc)
        self.seconds += time.perf_counter() - start
        self.lengths += attention_mask.sum(1).tolist()
        self.n_padded += attention_mask.numel()
        return states


def measure_reading(name: str, n_chars: int, repeats: int) -> dict:
    """Compress, and let sentence-transformers encode the same chunks, by turns.

    The encoder's rate is set against the machine's matrix product.
    """
    from sentence_transformers import SentenceTransformer

    from e2llm import E2LLM
    from e2llm.model.bases import resolve

    pair = E2LLM.from_pretrained(name)
    text = make_text(n_chars)
    rival = SentenceTransformer(resolve(pair.config.encoder_name), device="cpu")
    chunks = [text[start:end] for start, end in pair.chunker(text)]
    # The first call of each is slower.
    pair.compress(text[:20_000])
    rival.encode(chunks[:64])
    ours, theirs, shares, rates, ceilings = [], [], [], [], []
    dtype = str(pair.model.dtype).removeprefix("torch.")
    for _ in range(repeats):
        # By turns, so that what else the machine does strikes all alike.
        ceilings.append(matmul_flops(dtype))
        clock = EncoderClock(pair.model)
        start = time.perf_counter()
        document = pair.compress(text)
        ours.append(time.perf_counter() - start)
        del pair.model.encode
        shares.append(clock.seconds / ours[-1])
        rates.append(encoder_flops(pair.model.encoder.config, clock.lengths) / clock.seconds)
        start = time.perf_counter()
        rival.encode(chunks)
        theirs.append(time.perf_counter() - start)
    return {
        "chars": n_chars,
        "tokens": document.n_tokens,
        "soft_tokens": document.n_soft,
        "dtype": dtype,
        "compress_s": round(statistics.median(ours), 2),
        "compress_tokens_per_s": round(document.n_tokens / statistics.median(ours)),
        "encoder_share_of_time": round(statistics.median(shares), 3),
        "padding_share": round(1 - sum(clock.lengths) / clock.n_padded, 3),
        "encoder_gflops": round(statistics.median(rates) / 1e9, 1),
        "matmul_gflops": round(statistics.median(ceilings) / 1e9, 1),
        "encoder_share_of_matmul_rate": round(
            statistics.median(rate / top for rate, top in zip(rates, ceilings, strict=True)), 3
        ),
        "sentence_transformers_s": round(statistics.median(theirs), 2),
        "times_sentence_transformers": round(
            statistics.median(rival_s / own_s for rival_s, own_s in zip(theirs, ours, strict=True)),
            2,
        ),
    }


def peak_memory(name: str, n_chars: int, queue) -> None:
    """Put the peak memory of compressing, and what of it is the document itself."""
    from e2llm import E2LLM

    pair = E2LLM.from_pretrained(name)
    # Loaded and warm: what grows from here on is the document's doing.
    pair.compress(make_text(100_000))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    document = pair.compress(make_text(n_chars))
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    own = document.soft_tokens.nbytes + document.embeddings.nbytes + len(document.text)
    queue.put(
        {
            "chars": n_chars,
            "peak_mib": after // 1024,
            "grown_mib": (after - before) // 1024,
            "document_mib": round(own / 2**20),
        }
    )


def measure_memory(name: str, lengths: list[int]) -> list[dict]:
    """Measure each length in a process of its own."""
    # A process's peak never falls, so every length has a process of its own.
    context = multiprocessing.get_context("spawn")
    rows = []
    for n_chars in lengths:
        queue = context.Queue()
        process = context.Process(target=peak_memory, args=(name, n_chars, queue))
        process.start()
        rows.append(queue.get())
        process.join()
    return rows


def measure_asking(name: str, n_chars: int) -> dict:
    """Ask a stored document twice, and count the encoder's runs over more than the question."""
    from e2llm import E2LLM, CompressedDocument

    pair = E2LLM.from_pretrained(name)
    with tempfile.TemporaryDirectory() as folder:
        pair.compress(make_text(n_chars)).save(f"{folder}/document.e2llm")
        start = time.perf_counter()
        # From disk, as for a document that was compressed on another day.
        document = CompressedDocument.load(f"{folder}/document.e2llm")
        load_s = time.perf_counter() - start
    clock = EncoderClock(pair.model)
    first, second = (
        pair.ask(question, document, max_new_tokens=32).usage for question in QUESTIONS
    )
    return {
        "document_load_s": round(load_s, 3),
        "first_question_first_token_s": round(first.first_token_s, 3),
        "second_question_first_token_s": round(second.first_token_s, 3),
        "rank_s": round(second.rank_s, 4),
        "encoder_tokens_per_question": sum(clock.lengths) / 2,
        "decode_tokens_per_s": round(
            second.n_answer_tokens / (second.total_s - second.first_token_s), 1
        ),
    }


def measure_starting(repeats: int = 5) -> dict:
    """Time `e2llm --help` and the loading of the default decoder, each in a new process."""
    helps, loads = [], []
    load = """import time, torch
from e2llm.model import bases
start = time.perf_counter()
bases.load_decoder({!r}, dtype="bfloat16")
print(time.perf_counter() - start)"""
    decoder = json.loads(
        (Path(__file__).parent.parent / "e2llm/pairs/smol/config.json").read_text()
    )["decoder_name"]
    for _ in range(repeats):
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "e2llm", "--help"], check=True, stdout=subprocess.DEVNULL
        )
        helps.append(time.perf_counter() - start)
        run = subprocess.run(
            [sys.executable, "-c", load.format(decoder)], check=True, capture_output=True, text=True
        )
        loads.append(float(run.stdout.split()[-1]))
    return {
        "help_s": round(statistics.median(helps), 3),
        "decoder_load_s": round(statistics.median(loads), 3),
    }


def where() -> dict:
    """Say on what this was measured."""
    import torch
    import transformers

    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent,
    ).stdout.strip()
    facts = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    cpu = next(
        (line.split(":")[1].strip() for line in facts if line.startswith("model name")),
        platform.processor(),
    )
    versions = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    return {
        "commit": commit,
        "cpu": cpu,
        "cores": os.cpu_count(),
        **versions,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def main() -> None:
    """Measure everything, print one line of JSON, and keep it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="smol")
    parser.add_argument("--chars", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    result = {
        "benchmark": "read_and_ask",
        "model": arguments.model,
        **where(),
        "starting": measure_starting(),
    }
    result["memory"] = measure_memory(
        arguments.model, [arguments.chars // 4, arguments.chars, 4 * arguments.chars]
    )
    result["asking"] = measure_asking(arguments.model, arguments.chars // 2)
    result["reading"] = measure_reading(arguments.model, arguments.chars, arguments.repeats)
    arguments.output.mkdir(parents=True, exist_ok=True)
    with open(
        arguments.output / f"read_and_ask-{result['date'].replace(':', '')}.json", "x"
    ) as file:
        json.dump(result, file, indent=1)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
