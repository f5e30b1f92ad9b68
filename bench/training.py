"""Measure how fast a recipe's last stage trains, against a naive trainer.

Run it when nothing else runs.

    E2LLM_DATA=... python bench/training.py [configs/smol.yaml] [--batches 24] [--output FOLDER]

Both sides train the same samples with the same weights in one run, batch after batch in turn. Ours:
batches cut by length and packed, logits at the answers alone, the loss in rows. Naive: the same
samples shuffled into as many batches, padded on the left with an attention mask, logits everywhere,
the library's own loss. Useful positions are those of prompts and answers, padding not counted. The
rate is set against a bfloat16 matrix product measured in the same run; operations are those that
the model needs for the useful positions. It ends with one line of JSON, and writes the same to a
new file in `--output`.
"""

import argparse
import json
import random
import time
from dataclasses import replace
from pathlib import Path

import torch
from read_and_ask import encoder_flops, matmul_flops, where

from e2llm.training.attention import reads_packed
from e2llm.training.collator import Collator
from e2llm.training.mixture import Batch, Mixture
from e2llm.training.objective import Objective
from e2llm.training.pair_to_train import load
from e2llm.training.parameters import choose_trained
from e2llm.training.recipe import Recipe
from e2llm.training.resources import keep_memory
from e2llm.training.stages import open_sources


def naive_loss(objective: Objective, collated: dict) -> torch.Tensor:
    """Pad on the left, mask the padding, compute every logit, and let the library take the loss."""
    ids, labels = collated["input_ids"], collated["labels"]  # (batch, seq) each
    lengths = [int((row != -100).nonzero()[-1]) + 1 for row in labels]
    shifts = [ids.shape[1] - length for length in lengths]
    rolled = [tensor.clone() for tensor in (ids, labels)]
    mask = torch.ones_like(ids)  # (batch, seq)
    # Collated rows are padded on the right: rolled by their padding, they are padded on the left.
    for row, shift in enumerate(shifts):
        for tensor in rolled:
            tensor[row] = tensor[row].roll(shift)
        mask[row, :shift] = 0
    chunks = {
        name: collated[name]
        for name in ("chunk_input_ids", "chunk_attention_mask", "chunk_soft_ids")
    }
    positions = (mask.cumsum(1) - 1).clamp(min=0)  # (batch, seq), from 0 at the first real token
    return objective.model(
        input_ids=rolled[0],
        labels=rolled[1],
        attention_mask=mask,
        position_ids=positions,
        use_cache=False,
        logits_to_keep=0,
        **chunks,
    ).loss


def needed_flops(objective: Objective, collated: dict) -> float:
    """Return the operations for the useful positions, two per multiply-add.

    Forward, gradients of activations, gradients of what is trained.
    """
    config = objective.base.decoder.config
    n_positions = collated["n_positions"]
    n_labels = int((collated["labels"] != -100).sum())
    lengths = [int((row != -100).nonzero()[-1]) + 1 for row in collated["labels"]]
    layers = sum(
        tensor.numel()
        for name, tensor in objective.base.decoder.named_parameters()
        if "layers" in name and "lora_" not in name
    )
    lora = sum(
        tensor.numel()
        for name, tensor in objective.base.decoder.named_parameters()
        if "lora_" in name
    )
    # Causal: half of the square.
    attention = sum(
        2 * config.num_hidden_layers * config.hidden_size * length**2 for length in lengths
    )
    head = 2 * n_labels * config.hidden_size * config.vocab_size
    read = encoder_flops(
        objective.base.encoder.config, collated["chunk_attention_mask"].sum(-1).flatten().tolist()
    )
    # What is frozen has no gradient of its own, so it costs two passes where LoRA costs three.
    frozen, trained = 2 * layers * n_positions + head, 2 * lora * n_positions + attention
    return 2 * frozen + 3 * trained + 2 * read


def timed(step) -> float:
    """Return the seconds of a forward and backward pass."""
    begun = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16):
        loss = step()
    loss.backward()
    return time.perf_counter() - begun


def main() -> None:
    """Run the measurement."""
    parser = argparse.ArgumentParser()
    parser.add_argument("recipe", nargs="?", default="configs/smol.yaml")
    parser.add_argument("--batches", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    given = parser.parse_args()
    rate = matmul_flops("bfloat16")
    keep_memory()
    recipe = replace(Recipe.read(given.recipe), keep_embedding=0.0)
    model, processor = load(recipe)
    objective = Objective(model, recipe)
    objective.stage = recipe.stages[-1]
    choose_trained(objective, recipe, objective.stage)
    objective.train()
    sources, _ = open_sources(recipe)
    mixture = Mixture(objective.stage, sources, processor, 4096, given.seed, curriculum=False)
    batches = [mixture[index] for index in range(given.batches)]
    packed, padded = Collator(processor, reads_packed(objective.base.decoder)), Collator(processor)
    seconds = {"ours": 0.0, "naive": 0.0}
    positions, flops, read = 0, 0.0, {"ours": 0, "naive": 0}
    # The same samples as they come: shuffled, whatever their task and ratio, and cut into as many
    # batches.
    samples = [sample for batch in batches for sample in batch.samples]
    random.Random(given.seed).shuffle(samples)
    naive = [Batch("naive", 1, samples[place :: len(batches)]) for place in range(len(batches))]
    # Two batches of each warm up; then all are timed, by turns.
    for warm in (True, False):
        for ours, plain in list(zip(batches, naive, strict=True))[: 2 if warm else None]:
            collated, loose = packed([ours]), padded([plain])
            own_s = timed(lambda c=collated: objective(**c)["loss"])
            plain_s = timed(lambda c=loose: naive_loss(objective, c))
            if warm:
                continue
            seconds["ours"] += own_s
            seconds["naive"] += plain_s
            positions += collated["n_positions"]
            flops += needed_flops(objective, padded([ours]))
            read["ours"] += collated["input_ids"].numel()
            read["naive"] += loose["input_ids"].numel()
    result = {
        "recipe": given.recipe,
        "batches": given.batches,
        "seed": given.seed,
        "positions": positions,
        "positions_per_s": {name: round(positions / own, 1) for name, own in seconds.items()},
        "times_naive": round(seconds["naive"] / seconds["ours"], 2),
        "padding": {name: round(1 - positions / own, 3) for name, own in read.items()},
        "gflops_per_s": round(flops / seconds["ours"] / 1e9, 1),
        "matmul_gflops_per_s": round(rate / 1e9, 1),
        "share_of_matmul": round(flops / seconds["ours"] / rate, 3),
        **where(),
    }
    given.output.mkdir(parents=True, exist_ok=True)
    name = f"training-{result['date'].replace(':', '')}.json"
    with open(given.output / name, "x", encoding="utf-8") as file:
        json.dump(result, file, indent=1)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
