"""Languages that the encoder cannot read: their words still find their chunk, and it is said."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from e2llm.documents.compressed import MOST_UNKNOWN, CompressedDocument

# Of each language eight sentences that share few words.
SENTENCES = {
    "Chinese": (
        "市议会在中午开会。 猫在黑色的屋顶上睡觉。 工程师建造了新的桥梁。 图书馆有九千本书。 "
        "冬天学校很早关门。 医生住在河边的房子里。 面包师每天早上五点起床。 船长卖掉了他的旧船。"
    ),
    "Japanese": (
        "市議会は正午に開かれた。 黒い猫が屋根で寝ている。 技師が新しい橋を作りました。 "
        "図書館には本が九千冊ある。 冬は学校が早く終わる。 医者は川沿いの家に住む。 "
        "パン屋は毎朝五時に起きる。 船長は古い船を売った。"
    ),
    "Thai": (
        "สภาเมืองประชุมตอนเที่ยง แมวดำนอนบนหลังคา วิศวกรสร้างสะพานใหม่ ห้องสมุดมีหนังสือเก้าพันเล่ม "
        "ฤดูหนาวโรงเรียนปิดเร็ว หมออยู่บ้านริมแม่น้ำ คนทำขนมปังตื่นตีห้า กัปตันขายเรือเก่า"
    ),
    "Russian": (
        "Совет собрался в полдень. Чёрная кошка спит на крыше. Инженер построил новый мост. "
        "Библиотека хранит девять тысяч книг. Зимой школа закрывается рано. Врач живёт у реки. "
        "Пекарь встаёт в пять утра. Капитан продал старый корабль."
    ),
    "Greek": (
        "Το συμβούλιο συνήλθε το μεσημέρι. Η μαύρη γάτα κοιμάται στη στέγη. Ο μηχανικός έχτισε "
        "γέφυρα. Η βιβλιοθήκη έχει εννέα χιλιάδες βιβλία. Τον χειμώνα το σχολείο κλείνει νωρίς. Ο "
        "γιατρός μένει κοντά στο ποτάμι. Ο φούρναρης ξυπνά στις πέντε. Ο καπετάνιος πούλησε πλοίο."
    ),
    "Arabic": (
        "اجتمع المجلس عند الظهر. القطة السوداء تنام على السطح. المهندس بنى الجسر الجديد. "
        "المكتبة تضم تسعة آلاف كتاب. في الشتاء تغلق المدرسة مبكرا. "
        "الطبيب يسكن قرب النهر. الخباز يستيقظ في "
        "الخامسة. القبطان باع سفينته القديمة."
    ),
}
few = settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def sentences(language: str) -> list[str]:
    if language == "Thai":
        return SENTENCES[language].split()
    end = "。" if language in ("Chinese", "Japanese") else "."
    return [own.strip() + end for own in SENTENCES[language].split(end) if own.strip()]


def document_of(pair, language: str) -> CompressedDocument:
    texts = [own + "\n" for own in sentences(language)]
    ends = [sum(map(len, texts[: place + 1])) for place in range(len(texts))]
    spans = list(zip([0, *ends[:-1]], ends, strict=True))
    return pair.compress("".join(texts), chunker=lambda text: spans, ratio="chunk")


@pytest.mark.parametrize("language", SENTENCES)
@few
@given(data=st.data())
def test_a_questions_words_find_their_chunk_in_every_script(pair, language, data):
    chunk = data.draw(st.integers(0, 7))
    sentence = sentences(language)[chunk].rstrip(".。")
    if " " in sentence:
        words = sentence.split()
        longest = sorted(words, key=len)[-2:]
        question = data.draw(st.permutations(longest))
        question = " ".join(question) + "؟" * (language == "Arabic") + ";" * (language == "Greek")
    else:
        first = data.draw(st.integers(0, len(sentence) - 5))
        question = sentence[first : first + 5] + "？"
    document = document_of(pair, language)
    ranked = pair.rank(question, [document])
    assert len(ranked) == document.n_chunks
    assert chunk in [own.chunk for own in ranked[:2]]


def test_a_question_that_the_encoder_cannot_read_is_ranked_by_words_and_told(pair):
    document = document_of(pair, "Russian")
    assert document.unknown_share > MOST_UNKNOWN
    question = "капитан корабль мост"
    assert {own.chunk for own in pair.rank(question, [document])[:2]} == {2, 7}
    answer = pair.ask(question, document, expand=2, max_new_tokens=2)
    said = [notice for notice in answer.notices if "the encoder does not know" in notice]
    assert [notice.split(" of the letters of ")[1].split(":")[0] for notice in said] == [
        "the question",
        "'document'",
    ]


def test_many_such_documents_are_told_in_one_notice(pair, document):
    foreign = [replace(document, name=f"n{place}", unknown_share=0.9) for place in range(30)]
    answer = pair.ask("Where are the goats?", foreign[:3], expand=1, max_new_tokens=2)
    said = [notice for notice in answer.notices if "does not know" in notice]
    assert len(said) == 1
    assert said[0].startswith("of 3 documents ")


def test_what_is_unknown_is_stored_with_the_document(pair, tmp_path):
    document = document_of(pair, "Greek")
    loaded = CompressedDocument.load(document.save(tmp_path / "a.e2llm"))
    assert loaded.unknown_share == pytest.approx(document.unknown_share, abs=1e-4)
    assert loaded.unknown_note == document.unknown_note


@pytest.mark.parametrize(
    "question", ["INV-01234?", "???", "42", "\u200b!", "👍🏽", "-", '"" ``', "١٢"]
)
def test_a_question_of_ids_or_signs_alone_is_ranked(pair, document, question):
    ranked = pair.rank(question, [document])
    assert sorted(own.chunk for own in ranked) == list(range(document.n_chunks))
    pair.ask(question, document, expand=1, max_new_tokens=2)
