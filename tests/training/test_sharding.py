"""A model in shards, by raw FSDP2 (`fully_shard`) on gloo, against the whole one.

Not covered, for want of an accelerator: FSDP and DeepSpeed through transformers' Trainer
(accelerate shards on accelerators alone) and NCCL.
"""

import copy
import os
from datetime import timedelta

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from e2llm.training.trained_pair import save, unshard
from tests.training.processes import batch_of, objective_of, together


def _step_sharded(data):
    from torch.distributed.fsdp import fully_shard

    rank = int(os.environ["RANK"])
    torch.distributed.init_process_group("gloo", timeout=timedelta(seconds=60))
    made = objective_of(data)
    objective, collator = made[:2]
    base = objective.base
    for layer in [*base.encoder.encoder.layer, *base.decoder.model.layers]:
        fully_shard(layer)
    fully_shard(objective)
    loss = objective(**collator([batch_of(made, rank)]))["loss"]
    loss.backward()
    gradients = {
        name: p.grad.full_tensor().numpy()
        for name, p in objective.named_parameters()
        if p.requires_grad
    }
    torch.distributed.destroy_process_group()
    return float(loss.detach()), gradients


def test_a_model_that_fsdp2_shards_has_the_loss_and_the_gradients_of_the_whole_one(make_fields):
    data = make_fields("run")
    sharded = together(_step_sharded, data)
    made = objective_of(data)
    objective, collator = made[:2]
    for rank, (loss, _) in enumerate(sharded):
        own = objective(**collator([batch_of(made, rank)]))["loss"]
        assert loss == pytest.approx(float(own.detach()), rel=1e-5)
        (own / 2).backward()
    for name, parameter in objective.named_parameters():
        if parameter.requires_grad:
            np.testing.assert_allclose(
                sharded[0][1][name], parameter.grad, atol=1e-6, rtol=1e-4, err_msg=name
            )


def _save_sharded(data, folder):
    from torch.distributed.fsdp import fully_shard

    torch.distributed.init_process_group("gloo", timeout=timedelta(seconds=60))
    objective, _, processor, recipe = objective_of(data)
    main = os.environ["RANK"] == "0"
    if main:
        save(copy.deepcopy(objective), processor, recipe, folder / "whole")
    base = objective.base
    for layer in [*base.encoder.encoder.layer, *base.decoder.model.layers]:
        fully_shard(layer)
    fully_shard(objective)
    unshard(objective, main)
    if main:
        save(objective, processor, recipe, folder / "sharded")
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("mode", ["lora", "full"])
def test_a_model_that_fsdp2_shards_is_saved_as_the_whole_one_is(make_fields, tmp_path, mode):
    together(_save_sharded, make_fields("run", decoder={"mode": mode}), tmp_path)
    files = {
        name: sorted(path.relative_to(tmp_path / name) for path in (tmp_path / name).rglob("*.*"))
        for name in ("whole", "sharded")
    }
    assert files["whole"] == files["sharded"]
    for file in files["whole"]:
        whole, sharded = (tmp_path / name / file for name in ("whole", "sharded"))
        if file.suffix == ".safetensors":
            own, other = load_file(whole), load_file(sharded)
            assert own.keys() == other.keys()
            assert all(torch.equal(tensor, other[name]) for name, tensor in own.items())
