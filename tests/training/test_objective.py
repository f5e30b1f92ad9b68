"""What is differentiated: losses, where gradients go, and what a batch may not change."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from e2llm.model.adapters import ADAPTERS
from e2llm.model.pooling import POOLINGS
from e2llm.training import attention
from e2llm.training.attention import reads_packed
from e2llm.training.collator import Collator
from e2llm.training.mixture import Batch, Mixture
from e2llm.training.objective import Objective, _Reader
from e2llm.training.stages import choose_trained, load
from e2llm.training.tasks import TASKS, Sample
from e2llm.training.tasks.base import NegativeLogLikelihood, answer_logits
from e2llm.training.trainer import part_of
from tests import tiny
from tests.training import writing

ALL = {"adapter": 1e-3, "encoder": 1e-3, "decoder": 1e-3}


@pytest.fixture
def make_objective(make_recipe):
    """An objective with its batches of one stage that has every task."""

    def make(decoder="llama", encoder="bert", pair=None, stage=None, **changes):
        recipe = make_recipe(
            writing.stage(
                **{"tasks": {name: {} for name in TASKS}, "chunks": [3, 3], **(stage or {})}
            ),
            family=decoder,
            **changes,
        )
        folder = recipe.pair["encoder"].rpartition("-")[0]
        recipe = dataclasses.replace(
            recipe, pair={**recipe.pair, "encoder": f"{folder}-{encoder}", **(pair or {})}
        )
        torch.manual_seed(0)
        model, processor = load(recipe)
        objective = Objective(model, recipe)
        choose_trained(objective, recipe, recipe.stages[0])
        return SimpleNamespace(
            objective=objective, processor=processor, recipe=recipe, collator=Collator(processor)
        )

    return make


@pytest.fixture
def batch_of(sources):
    def make(made, task):
        mixture = Mixture(made.recipe.stages[0], sources, made.processor, 42, 0, curriculum=False)
        samples = [
            sample
            for i in range(42)
            if mixture[i].task == task and mixture[i].ratio == 2
            for sample in mixture[i].samples
        ]
        samples.sort(key=lambda sample: sample.n_positions)
        return Batch(task, 2, [samples[0], samples[-1], samples[len(samples) // 2]])

    return make


def run(made, batch, training=False):
    made.objective.train(training)
    return made.objective(**made.collator([batch]))


def move_lora(objective, scale=0.3):
    """Let LoRA act, as after some training."""
    torch.manual_seed(5)
    with torch.no_grad():
        for name, parameter in objective.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=scale)


def gradients(made, batch):
    made.objective.zero_grad()
    run(made, batch, training=True)["loss"].backward()
    return {
        name: parameter.grad
        for name, parameter in made.objective.named_parameters()
        if parameter.requires_grad
    }


# Logits where there are labels, and their loss


@pytest.mark.parametrize("decoder", ["llama", "gemma2", "gpt2", "phi", "qwen3"])
def test_the_head_gives_the_logits_of_a_full_pass_where_there_are_labels_and_no_others(
    make_objective, batch_of, decoder
):
    made = make_objective(decoder=decoder)
    if decoder == "gemma2":
        assert made.objective.base.decoder.config.final_logit_softcapping
    made.objective.eval()
    inputs = made.collator([batch_of(made, "reasoning")])
    reader = _Reader(made.objective)
    with torch.no_grad():
        kept = answer_logits(reader, inputs)
        full = reader(
            **{
                name: inputs[name]
                for name in (
                    "input_ids",
                    "chunk_input_ids",
                    "chunk_attention_mask",
                    "chunk_soft_ids",
                )
            }
        ).logits
    places = inputs["labels"][:, 1:] != -100
    torch.testing.assert_close(kept, full[:, :-1][places], atol=1e-5, rtol=1e-5)
    assert len(kept) == sum(
        len(sample.answer_ids) for sample in batch_of(made, "reasoning").samples
    )


@pytest.mark.parametrize("decoder", ["llama", "gemma2", "gpt2"])
def test_the_loss_is_the_cross_entropy_of_the_answers_in_value_and_gradient(
    make_objective, batch_of, decoder
):
    made = make_objective(decoder=decoder)
    batch = batch_of(made, "understanding")
    own = gradients(made, batch)
    inputs = made.collator([batch])
    made.objective.zero_grad()
    logits = _Reader(made.objective)(
        **{
            name: inputs[name]
            for name in ("input_ids", "chunk_input_ids", "chunk_attention_mask", "chunk_soft_ids")
        }
    ).logits
    loss = F.cross_entropy(
        logits[:, :-1].flatten(0, 1), inputs["labels"][:, 1:].flatten(), ignore_index=-100
    )
    loss.backward()
    torch.testing.assert_close(run(made, batch)["loss"], loss)
    for name, parameter in made.objective.named_parameters():
        if parameter.requires_grad:
            torch.testing.assert_close(own[name], parameter.grad, msg=name, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("n", [0, 1, 64, 150])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_negative_log_likelihood_equals_torchs_cross_entropy(n, dtype):
    torch.manual_seed(0)
    logits, labels = (torch.randn(n, 37) * 3).to(dtype), torch.randint(37, (n,))
    own, theirs = (logits.clone().requires_grad_() for _ in range(2))
    mine = NegativeLogLikelihood.apply(own, labels)
    wanted = F.cross_entropy(theirs.float(), labels, reduction="sum")
    torch.testing.assert_close(mine, wanted)
    (mine * 0.7).backward()
    (wanted * 0.7).backward()
    torch.testing.assert_close(own.grad, theirs.grad)


@pytest.mark.parametrize("task", ["expanding", "recall"])
def test_labels_cover_the_answers_and_nothing_else(make_objective, batch_of, task):
    made = make_objective(stage={"max_answer_tokens": 200})
    batch = batch_of(made, task)
    inputs = made.collator([batch])
    for row, sample in enumerate(batch.samples):
        ids, labels = [], []
        for prompt, answer in [(sample.prompt_ids, sample.answer_ids), *sample.turns]:
            ids += prompt + answer
            labels += [-100] * len(prompt) + answer
        assert inputs["input_ids"][row, : len(ids)].tolist() == ids
        assert inputs["labels"][row].tolist() == labels + [-100] * (
            inputs["labels"].shape[1] - len(labels)
        )
    assert task != "recall" or any(sample.turns for sample in batch.samples)


@pytest.mark.parametrize("task", TASKS)
def test_the_loss_of_a_batch_is_the_sum_over_its_samples_alone(make_objective, batch_of, task):
    made = make_objective()
    move_lora(made.objective)
    batch = batch_of(made, task)
    assert len({sample.n_positions for sample in batch.samples}) > 1
    with torch.no_grad():
        whole = run(made, batch)
        parts = [run(made, Batch(task, 2, [sample])) for sample in batch.samples]
    torch.testing.assert_close(
        whole["total"], sum(part["total"] for part in parts), atol=1e-3, rtol=1e-4
    )
    assert whole["n_items"] == sum(part["n_items"] for part in parts)


def test_the_mean_is_over_answer_tokens_and_the_sum_over_samples_is_the_papers(
    make_objective, batch_of
):
    losses = {}
    for form in ("mean", "sum"):
        made = make_objective(loss=form, stage={"tasks": {"reasoning": {"weight": 0.5}}})
        with torch.no_grad():
            losses[form] = run(made, batch_of(made, "reasoning"))
    torch.testing.assert_close(
        losses["mean"]["loss"], 0.5 * losses["mean"]["total"] / losses["mean"]["n_items"]
    )
    torch.testing.assert_close(losses["sum"]["loss"], 0.5 * losses["mean"]["total"] / 3)


# Where gradients go


@pytest.mark.parametrize(
    "parts", [("adapter",), ("adapter", "encoder"), ("decoder",), ("adapter", "encoder", "decoder")]
)
@pytest.mark.parametrize("task", ["understanding", "distillation"])
def test_what_a_stage_does_not_train_gets_no_gradient_and_what_it_trains_does(
    make_objective, batch_of, parts, task
):
    made = make_objective()
    # Both LoRA are there, as for a run whose later stage trains them.
    choose_trained(
        made.objective,
        made.recipe,
        dataclasses.replace(made.recipe.stages[0], learning_rates=dict.fromkeys(parts, 1e-3)),
    )
    move_lora(made.objective)
    run(made, batch_of(made, task), training=True)["loss"].backward()
    run(made, batch_of(made, task), training=True)[
        "loss"
    ].backward()  # after a teacher, if any, has read
    for name, parameter in made.objective.named_parameters():
        trained = part_of(name) in parts and (
            "lora_" in name or (part_of(name) == "adapter" and ".original_module." not in name)
        )
        assert parameter.requires_grad == trained, name
        assert (parameter.grad is not None) == trained, name
        assert not trained or parameter.grad.abs().sum() > 0, name


def test_in_full_mode_every_weight_of_the_part_is_trained(make_objective, batch_of):
    made = make_objective()
    recipe = dataclasses.replace(
        made.recipe,
        encoder=dataclasses.replace(made.recipe.encoder, mode="full"),
        decoder=dataclasses.replace(made.recipe.decoder, mode="full"),
    )
    model, _ = load(recipe)
    made.objective = Objective(model, recipe)
    assert len(choose_trained(made.objective, recipe, recipe.stages[0])) == len(
        list(made.objective.parameters())
    )
    for name, gradient in gradients(made, batch_of(made, "understanding")).items():
        assert gradient is not None or "position_embeddings" in name, name


@pytest.mark.parametrize("task", [name for name in TASKS if name != "alignment"])
def test_labels_reach_the_adapter_through_the_frozen_decoder(make_objective, batch_of, task):
    made = make_objective(stage={"learning_rates": {"adapter": 1e-3}})
    assert all(
        gradient is not None and gradient.isfinite().all()
        for gradient in gradients(made, batch_of(made, task)).values()
    )


def test_alignment_does_not_run_the_decoder(make_objective, batch_of):
    made = make_objective()
    made.objective.base.decoder.forward = None
    assert run(made, batch_of(made, "alignment"))["loss"] > 0


# Distillation


@pytest.mark.parametrize("task", ["distillation", "continuation-distillation"])
def test_the_divergence_is_zero_where_the_reader_reads_what_the_teacher_reads_and_positive_elsewhere(
    make_objective, batch_of, task
):
    made = make_objective()
    batch = batch_of(made, task)
    with torch.no_grad():
        assert run(made, batch)["loss"] > 0
        same = Batch(
            task,
            2,
            [
                Sample(s.name, [], [], s.teacher_ids, s.answer_ids, teacher_ids=s.teacher_ids)
                for s in batch.samples
            ],
        )
        assert abs(run(made, same)["loss"]) < 1e-6
        move_lora(made.objective)
        assert run(made, same)["loss"] > 1e-4


def test_a_decoder_that_teaches_itself_does_so_with_its_lora_and_only_the_reader_learns(
    make_objective, batch_of
):
    made = make_objective()
    batch = batch_of(made, "self-distillation")
    same = Batch(
        batch.task,
        2,
        [
            Sample(s.name, [], [], s.teacher_ids, s.answer_ids, teacher_ids=s.teacher_ids)
            for s in batch.samples
        ],
    )
    move_lora(made.objective)
    assert abs(run(made, same)["loss"]) < 1e-6, "the teacher has the LoRA that the reader has"
    assert run(made, batch)["loss"] > 1e-4
    inputs = made.collator([batch])
    run(made, batch, training=True)["loss"].backward()
    gradients = [
        parameter.grad.clone()
        for parameter in made.objective.parameters()
        if parameter.grad is not None
    ]
    made.objective.zero_grad()
    reader = _Reader(made.objective)
    with torch.no_grad():
        taught = answer_logits(reader, inputs, "teacher_").softmax(-1)
    read = answer_logits(reader, inputs).log_softmax(-1)
    torch.nn.functional.kl_div(read, taught, reduction="sum").div(len(read)).backward()
    again = [
        parameter.grad for parameter in made.objective.parameters() if parameter.grad is not None
    ]
    torch.testing.assert_close(again, gradients, atol=1e-5, rtol=1e-3)


def test_the_teacher_is_the_untouched_decoder_and_learns_nothing(make_objective, batch_of):
    made = make_objective()
    inputs = made.collator([batch_of(made, "distillation")])
    reader = _Reader(made.objective)
    made.objective.eval()

    def teach():
        with torch.no_grad(), reader.reading_text():
            return answer_logits(reader, inputs, "teacher_")

    before = teach()
    move_lora(made.objective)
    torch.testing.assert_close(teach(), before)
    assert not torch.allclose(answer_logits(reader, inputs), before)


# The sentence embedding


def test_the_sentence_embedding_does_not_drift_at_loras_start_and_is_pulled_back_later(
    make_objective, batch_of
):
    made = make_objective(keep_embedding=1.0)
    plain = make_objective(keep_embedding=0.0)
    batch = batch_of(made, "understanding")
    torch.testing.assert_close(
        run(made, batch, training=True)["loss"], run(plain, batch, training=True)["loss"]
    )
    for own in (made, plain):
        move_lora(own.objective)
    torch.testing.assert_close(
        run(made, batch)["loss"], run(plain, batch)["loss"]
    )  # validation does not count it
    drift = run(made, batch, training=True)["loss"] - run(plain, batch, training=True)["loss"]
    assert drift > 1e-3
    made.objective.zero_grad()
    drift.backward()
    assert all(
        p.grad is not None
        for name, p in made.objective.named_parameters()
        if "lora_" in name and part_of(name) == "encoder"
    )


def test_the_untouched_encoder_is_no_part_of_what_is_trained_or_saved(make_objective):
    with_copy, without = (make_objective(keep_embedding=weight).objective for weight in (1.0, 0.0))
    assert with_copy._untouched
    assert with_copy.state_dict().keys() == without.state_dict().keys()


# What may not change anything


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_batch_without_chunks_has_zero_gradients_and_the_decoders_own_loss(
    make_objective, adapter, pooling
):
    made = make_objective(pair={"adapter": adapter, "pooling": pooling}, keep_embedding=1.0)
    move_lora(made.objective)
    batch = Batch(
        "understanding",
        2,
        [
            Sample("a", prompt_ids=[5, 6, 7], answer_ids=[8, 9]),
            Sample("b", prompt_ids=[5], answer_ids=[6]),
        ],
    )
    for name, gradient in gradients(made, batch).items():
        assert gradient is not None, name
        if part_of(name) == "adapter":
            assert not gradient.any(), name
    with torch.no_grad():
        loss = run(made, batch)
        inputs = made.collator([batch])
        bare = (
            made.objective.base.decoder(input_ids=inputs["input_ids"]).logits[:, :-1].flatten(0, 1)
        )
    torch.testing.assert_close(
        loss["total"],
        F.cross_entropy(
            bare, inputs["labels"][:, 1:].flatten(), ignore_index=-100, reduction="sum"
        ),
    )


@pytest.mark.parametrize(
    ("encoder", "decoder"),
    [(name, "llama") for name in tiny.ENCODERS] + [("bert", name) for name in tiny.DECODERS],
)
def test_nothing_is_dropped_in_training(make_objective, batch_of, encoder, decoder):
    made = make_objective(decoder=decoder, encoder=encoder)
    torch.manual_seed(1)
    for part in (made.objective.base.encoder, made.objective.base.decoder):
        for module in part.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.5
            if hasattr(module, "attention_dropout"):
                module.attention_dropout = (
                    torch.nn.Dropout(0.5)
                    if isinstance(module.attention_dropout, torch.nn.Module)
                    else 0.5
                )
    batch = batch_of(made, "understanding")
    with torch.no_grad():
        torch.testing.assert_close(
            run(made, batch, training=True)["loss"], run(made, batch)["loss"]
        )


def test_loras_own_dropout_is_on_in_training_alone(make_objective, batch_of):
    made = make_objective()
    recipe = dataclasses.replace(
        made.recipe, decoder=dataclasses.replace(made.recipe.decoder, dropout=0.5)
    )
    model, _ = load(recipe)
    made.objective = Objective(model, recipe)
    move_lora(made.objective)
    batch = batch_of(made, "understanding")
    with torch.no_grad():
        assert run(made, batch, training=True)["loss"] != run(made, batch, training=True)["loss"]
        assert run(made, batch)["loss"] == run(made, batch)["loss"]


@pytest.mark.parametrize(
    ("encoder", "decoder"), [("bert", "llama"), ("modernbert", "gpt2"), ("qwen3", "gemma2")]
)
def test_gradient_checkpointing_changes_no_gradient(make_objective, batch_of, encoder, decoder):
    from e2llm.training.stages import checkpoint_gradients

    made = make_objective(encoder=encoder, decoder=decoder)
    move_lora(made.objective)
    batch = batch_of(made, "understanding")
    kept = gradients(made, batch)
    checkpoint_gradients(made.objective)
    counted = [0]
    layer = next(
        module
        for name, module in made.objective.base.decoder.named_modules()
        if name.endswith(("layers.0", "h.0"))
    )
    next(layer.children()).register_forward_pre_hook(
        lambda *_: counted.__setitem__(0, counted[0] + 1)
    )
    again = gradients(made, batch)
    assert counted[0] == 2  # once more in the backward pass
    for name, gradient in kept.items():
        torch.testing.assert_close(again[name], gradient, msg=name)


@pytest.mark.parametrize("decoder", ["llama", "gpt2"])
def test_compiled_layers_change_no_gradient(make_objective, batch_of, decoder):
    from e2llm.training.stages import compile_layers

    made = make_objective(decoder=decoder)
    move_lora(made.objective)
    batch = batch_of(made, "understanding")
    plain = gradients(made, batch)
    compile_layers(made.objective, backend="aot_eager")
    compiled = [
        name
        for name, module in made.objective.base.named_modules()
        if module._compiled_call_impl is not None
    ]
    assert len(compiled) == made.objective.base.decoder.config.num_hidden_layers
    assert all(name.startswith("decoder.") for name in compiled)
    again = gradients(made, batch)
    for name, gradient in plain.items():
        torch.testing.assert_close(again[name], gradient, msg=name)


# Packed rows


@pytest.mark.parametrize(
    ("decoder", "task"),
    [("llama", task) for task in TASKS]
    + [
        (family, "dialogue")
        for family in ("gpt2", "phi", "qwen3", "mistral", "gemma3", "gpt-neox", "olmo2")
    ],
)
def test_packed_samples_give_the_loss_and_the_gradients_of_padded_ones(
    make_objective, batch_of, decoder, task, monkeypatch
):
    monkeypatch.setattr(attention, "BLOCK", 16)  # so that these rows have several
    made = make_objective(decoder=decoder, stage={"max_answer_tokens": 200})
    move_lora(made.objective)
    batch = batch_of(made, task)
    assert reads_packed(made.objective.base.decoder)
    loss, padded = run(made, batch), gradients(made, batch)
    made.collator = Collator(made.processor, packs=True)
    inputs = made.collator([batch])
    if "input_ids" in inputs:
        assert inputs["input_ids"].shape == (1, sum(sample.n_positions for sample in batch.samples))
    packed = run(made, batch)
    assert packed["n_items"] == loss["n_items"]
    torch.testing.assert_close(packed["loss"], loss["loss"], atol=1e-5, rtol=1e-5)
    for name, gradient in gradients(made, batch).items():
        torch.testing.assert_close(gradient, padded[name], msg=name, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize("n", [1, 128, 300])
def test_blocks_attend_as_the_librarys_kernel_does(dtype, tolerance, n):
    rng = torch.Generator().manual_seed(0)
    query, key, value = (
        torch.randn(1, heads, n, 16, generator=rng).to(dtype).requires_grad_()
        for heads in (6, 2, 2)
    )
    own = attention._attend_by_blocks(query, key, value, scaling=0.3)
    wanted = F.scaled_dot_product_attention(
        *(states.float() for states in (query, key, value)),
        is_causal=True,
        scale=0.3,
        enable_gqa=True,
    )
    torch.testing.assert_close(own.transpose(1, 2).float(), wanted, atol=tolerance, rtol=tolerance)
    weights = torch.randn(wanted.shape, generator=rng)
    gradients = [
        torch.autograd.grad((output * weights).sum(), (query, key, value))
        for output in (own.transpose(1, 2).float(), wanted)
    ]
    for got, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(
            got.float(), expected.float(), atol=5 * tolerance, rtol=5 * tolerance
        )


def test_long_rows_are_packed_as_short_ones_are(make_objective, batch_of, monkeypatch):
    made = make_objective()
    batch = batch_of(made, "expanding")
    made.collator = Collator(made.processor, packs=True)
    short = gradients(made, batch)
    monkeypatch.setattr(attention, "MOST_SCORES", -1)  # all by the library's kernel
    for name, gradient in gradients(made, batch).items():
        torch.testing.assert_close(gradient, short[name], msg=name, atol=1e-5, rtol=1e-3)


def test_lora_at_its_start_is_the_base(make_objective, batch_of, make_pair):
    made = make_objective()
    inputs = made.collator([batch_of(made, "understanding")])
    made.objective.eval()
    names = ("input_ids", "chunk_input_ids", "chunk_attention_mask", "chunk_soft_ids")
    with torch.no_grad():
        torch.testing.assert_close(
            _Reader(made.objective)(**{name: inputs[name] for name in names}).logits,
            make_pair().model(**{name: inputs[name] for name in names}).logits,
        )


def test_the_collator_pads_at_the_end_and_what_pads_is_not_looked_at(make_objective, batch_of):
    made = make_objective()
    batch = batch_of(made, "understanding")
    inputs = made.collator([batch])
    longest = max(sample.n_positions for sample in batch.samples)
    assert inputs["input_ids"].shape == (len(batch.samples), longest)
    assert inputs["n_positions"] == sum(sample.n_positions for sample in batch.samples)
    with torch.no_grad():
        loss = made.objective.eval()(**inputs)["loss"]
        for row, sample in enumerate(batch.samples):
            inputs["input_ids"][row, sample.n_positions :] = 77
        inputs["chunk_input_ids"][inputs["chunk_attention_mask"] == 0] = 9
        torch.testing.assert_close(made.objective(**inputs)["loss"], loss)
    assert np.isfinite(float(loss))
