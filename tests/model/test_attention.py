"""The attention of a token that is generated."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from e2llm.model.attention import GROUPED, attend_by_groups
from tests import tiny


@pytest.mark.parametrize("family", ["llama", "qwen3", "mistral", "gpt2", "gemma3"])
@pytest.mark.parametrize("batch", [1, 2])
def test_a_decoder_that_attends_by_groups_writes_what_it_wrote_before(tmp_path, family, batch):
    decoder = AutoModelForCausalLM.from_pretrained(tiny.make_decoder(tmp_path, family))
    torch.manual_seed(0)
    ids = torch.randint(5, 60, (batch, 90))
    mask = torch.ones_like(ids)
    mask[1:, :4] = 0  # padding, as in a batch of prompts
    options = {
        "max_new_tokens": 12,
        "do_sample": False,
        "return_dict_in_generate": True,
        "output_logits": True,
        "pad_token_id": 0,
    }
    before = decoder.generate(ids, attention_mask=mask, **options)
    attend_by_groups(decoder)
    assert decoder.config._attn_implementation == GROUPED
    after = decoder.generate(ids, attention_mask=mask, **options)
    assert torch.equal(after.sequences, before.sequences)
    torch.testing.assert_close(
        torch.stack(after.logits), torch.stack(before.logits), atol=1e-5, rtol=1e-5
    )


def test_a_decoder_without_sdpa_keeps_its_own_attention(tmp_path):
    decoder = AutoModelForCausalLM.from_pretrained(
        tiny.make_decoder(tmp_path), attn_implementation="eager"
    )
    attend_by_groups(decoder)
    assert decoder.config._attn_implementation == "eager"
