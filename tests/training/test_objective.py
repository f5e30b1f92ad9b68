"""What is differentiated: where gradients go, and what may not change a loss."""

import dataclasses

import pytest
import torch
from torch.nn import functional as F

from e2llm.model.adapters import ADAPTERS
from e2llm.model.pooling import POOLINGS
from e2llm.training.mixture import Batch
from e2llm.training.objective import Objective, _Reader
from e2llm.training.pair_to_train import load
from e2llm.training.parameters import choose_trained, part_of
from e2llm.training.tasks import TASKS, Sample
from tests import tiny
from tests.training.objectives import gradients, move_lora, run


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
