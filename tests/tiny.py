"""Tiny real models, built from configurations, with tokenizers trained on a page of text: no
download, milliseconds each.
"""

from functools import lru_cache
from pathlib import Path

import torch
import transformers as tf
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

TEXT = (
    "The council met at noon in the old hall. Everyone spoke about the budget, and the mayor "
    "approved it after a long debate. A river runs through the town; its bridge was built in "
    "1887 by a company from the north. Who pays for the repair? The engineer said that the "
    "work would take three years. Nobody asked why. In winter the school closes early.\nThe "
    "library holds nine thousand books, most of them given by families. It opens at eight "
    "and closes at six.\n"
)
VOCAB_SIZE = 400
_SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": VOCAB_SIZE,
}
_KV = {"num_key_value_heads": 2}
_HEAD = {"head_dim": 8}
_IDS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}

ENCODERS = {
    "bert": lambda: tf.BertConfig(**_SIZES, max_position_embeddings=128, pad_token_id=0),
    "roberta": lambda: tf.RobertaConfig(**_SIZES, max_position_embeddings=130, pad_token_id=0),
    "xlm-roberta": lambda: tf.XLMRobertaConfig(
        **_SIZES, max_position_embeddings=130, pad_token_id=0
    ),
    "mpnet": lambda: tf.MPNetConfig(**_SIZES, max_position_embeddings=130, pad_token_id=0),
    "modernbert": lambda: tf.ModernBertConfig(
        **_SIZES, max_position_embeddings=128, pad_token_id=0, **_no_special_ids()
    ),
    "qwen3": lambda: tf.Qwen3Config(**_SIZES, **_KV, **_HEAD, max_position_embeddings=128),
}
DECODERS = {
    "llama": lambda: tf.LlamaConfig(**_SIZES, **_KV, **_IDS, max_position_embeddings=512),
    "qwen2": lambda: tf.Qwen2Config(**_SIZES, **_KV, **_IDS, max_position_embeddings=512),
    "qwen3": lambda: tf.Qwen3Config(**_SIZES, **_KV, **_HEAD, **_IDS, max_position_embeddings=512),
    "mistral": lambda: tf.MistralConfig(**_SIZES, **_KV, **_IDS, max_position_embeddings=512),
    "gemma2": lambda: tf.Gemma2Config(
        **_SIZES, **_KV, **_HEAD, **_IDS, max_position_embeddings=512, sliding_window=64
    ),
    "gemma3": lambda: tf.Gemma3TextConfig(
        **_SIZES, **_KV, **_HEAD, **_IDS, max_position_embeddings=512, sliding_window=64
    ),
    "phi": lambda: tf.PhiConfig(**_SIZES, **_IDS, max_position_embeddings=512),
    "phi3": lambda: tf.Phi3Config(**_SIZES, **_KV, **_IDS, max_position_embeddings=512),
    "gpt2": lambda: tf.GPT2Config(
        n_embd=32,
        n_layer=2,
        n_head=4,
        vocab_size=VOCAB_SIZE,
        n_positions=512,
        bos_token_id=1,
        eos_token_id=2,
    ),
    "gpt-neox": lambda: tf.GPTNeoXConfig(**_SIZES, **_IDS, max_position_embeddings=512),
    "olmo": lambda: tf.OlmoConfig(**_SIZES, **_KV, **_IDS, max_position_embeddings=512),
    "olmo2": lambda: tf.Olmo2Config(**_SIZES, **_KV, **_IDS, max_position_embeddings=512),
}
CHAT_TEMPLATE = (
    "{% for message in messages %}<|start|>{{ message['role'] }}\n{{ message['content'] "
    "}}<|end|>\n{% endfor %}{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)


def _no_special_ids() -> dict:
    return {"bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2}


@lru_cache
def encoder_tokenizer() -> tf.PreTrainedTokenizerFast:
    """A WordPiece tokenizer in BERT's form."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    specials = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]
    tokenizer.train_from_iterator(
        [TEXT], trainers.WordPieceTrainer(vocab_size=VOCAB_SIZE, special_tokens=specials)
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    tokenizer.decoder = decoders.WordPiece()
    names = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]"}
    return tf.PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=128, **names)


@lru_cache
def decoder_tokenizer(chat: bool = True) -> tf.PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer, with a chat template unless asked otherwise."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    specials = ["<pad>", "<bos>", "<eos>", "<|start|>", "<|end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        [TEXT],
        trainers.BpeTrainer(
            vocab_size=VOCAB_SIZE, special_tokens=specials, initial_alphabet=alphabet
        ),
    )
    tokenizer.decoder = decoders.ByteLevel()
    names = {
        "pad_token": "<pad>",
        "bos_token": "<bos>",
        "eos_token": "<eos>",
        "additional_special_tokens": ["<|start|>", "<|end|>"],
    }
    fast = tf.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)
    fast.chat_template = CHAT_TEMPLATE if chat else None
    return fast


def make_encoder(folder: Path, family: str = "bert", seed: int = 0) -> str:
    """Save a tiny encoder with its tokenizer; return the folder's name."""
    torch.manual_seed(seed)
    tf.AutoModel.from_config(ENCODERS[family]()).save_pretrained(folder)
    encoder_tokenizer().save_pretrained(folder)
    return str(folder)


def make_decoder(
    folder: Path, family: str = "llama", chat: bool = True, seed: int = 0, **changes: object
) -> str:
    """Save a tiny decoder with its tokenizer; return the folder's name."""
    torch.manual_seed(seed)
    config = DECODERS[family]()
    for name, value in changes.items():
        setattr(config, name, value)
    tf.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    decoder_tokenizer(chat).save_pretrained(folder)
    return str(folder)
