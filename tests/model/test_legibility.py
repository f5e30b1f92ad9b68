"""What an encoder cannot read: told by its tokenizer, in every script and of every kind."""

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from e2llm.model.legibility import unknown_share

ENGLISH = "The council met at noon. Who built the bridge of the old town, and for which sum? " * 3
FOREIGN = {
    "Russian": "Кто построил старый мост через реку?",
    "Greek": "Ποιος έχτισε την παλιά γέφυρα;",
    "Arabic": "من بنى الجسر القديم في المدينة؟",
    "Chinese": "谁建造了这座古老的桥？",
    "Japanese": "誰が古い橋を作りましたか。",
    "Thai": "ใครสร้างสะพานเก่าในเมือง",
    "Hindi": "पुराना पुल किसने बनाया?",
    "Korean": "누가 오래된 다리를 지었나요?",
}


def word_pieces(*texts: str, letters: str = "") -> tuple[Tokenizer, int]:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=600,
        special_tokens=["[UNK]"],
        initial_alphabet=list(letters),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts * 20, trainer)
    return tokenizer, tokenizer.token_to_id("[UNK]")


def bytes_level(*texts: str) -> tuple[Tokenizer, None]:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=600, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(texts * 20, trainer)
    return tokenizer, None


TOKENIZERS = {
    "unknown tokens": lambda: word_pieces(ENGLISH),
    "letter by letter": lambda: word_pieces(ENGLISH, letters="".join(FOREIGN.values()).lower()),
    "byte by byte": lambda: bytes_level(ENGLISH),
}


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_its_own_language_is_known(kind):
    tokenizer, unknown = TOKENIZERS[kind]()
    assert unknown_share(tokenizer, unknown, ENGLISH) == 0
    for text in ("", "???", "42", "👍🏽", "2024-01-01 €"):
        assert unknown_share(tokenizer, unknown, text) == 0


@pytest.mark.parametrize("language", FOREIGN)
@pytest.mark.parametrize("kind", ["unknown tokens", "byte by byte"])
def test_another_language_is_not(kind, language):
    tokenizer, unknown = TOKENIZERS[kind]()
    assert unknown_share(tokenizer, unknown, FOREIGN[language]) > 0.8
    half = ENGLISH + FOREIGN[language] * (len(ENGLISH) // len(FOREIGN[language]))
    assert 0.2 < unknown_share(tokenizer, unknown, half) < 0.8


@pytest.mark.parametrize("language", ["Russian", "Greek", "Arabic", "Hindi"])
def test_words_that_are_spelled_letter_by_letter_are_not_known(language):
    tokenizer, unknown = TOKENIZERS["letter by letter"]()
    assert unknown_share(tokenizer, unknown, FOREIGN[language]) > 0.8


@pytest.mark.parametrize("language", FOREIGN)
@pytest.mark.parametrize("make", [word_pieces, bytes_level])
def test_a_language_that_was_learned_is_known(make, language):
    if (make, language) == (bytes_level, "Hindi"):
        pytest.skip("byte-level tokenizers cut words at Indic vowels, so that none can be learned")
    tokenizer, unknown = make(FOREIGN[language])
    assert unknown_share(tokenizer, unknown, FOREIGN[language]) < 0.2


def test_a_long_text_is_judged_by_pieces_of_all_of_it():
    tokenizer, unknown = word_pieces(ENGLISH)
    text = ENGLISH * 400 + FOREIGN["Russian"] * 2_600
    assert 0.3 < unknown_share(tokenizer, unknown, text) < 0.7
