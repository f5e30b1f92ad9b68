"""JSON, JSON lines and YAML."""

import json
from pathlib import Path

import yaml

from tests.documents.cases import Case, raw

_LONG = "It was repaired in spring. " * 12
_STAFF = [
    {"name": "Ann Évans", "address": {"city": "Ulm", "zip": "01067"}, "tags": ["a", "b"]},
    {"name": "Bo", "note": 'said "no"\nand left', "boss": None, "paid": True, "none": []},
]


def _json(value: object, **style):
    def make(path: Path) -> None:
        path.write_text(json.dumps(value, **style), encoding="utf-8")

    return make


def _lines(*values: object, tail: str = ""):
    def make(path: Path) -> None:
        path.write_text("".join(json.dumps(value) + "\n" for value in values) + tail)

    return make


def _yaml(path: Path) -> None:
    machines = [{"name": f"press {i}", "report": _LONG} for i in range(3)]
    text = yaml.safe_dump({"machines": machines}, sort_keys=False, width=80)
    path.write_text("# checked by Ann\nversion: 1.10\n" + text)


_LAUGHS = "a: &a [x, x]\n" + "".join(
    f"{after}: &{after} [{', '.join(['*' + before] * 9)}]\n"
    for before, after in zip("abcdefgh", "bcdefghi", strict=True)
)

CASES = [
    Case(
        "elements as records, escapes resolved",
        "a.json",
        _json(_STAFF),
        holds=(
            "name: Ann Évans\naddress.city: Ulm\naddress.zip: 01067\ntags: a, b\n\n",
            'name: Bo\nnote: said "no"\nand left\nboss: null\npaid: true\nnone: []\n',
        ),
    ),
    Case(
        "a long list inside: each element says where it stands",
        "inside.json",
        _json({"made": "2024", "staff": [{"name": f"N{i}", "cv": _LONG} for i in range(3)]}),
        holds=("made: 2024\n\n", "staff[0]\nname: N0\n", "staff[2]\nname: N2\ncv: It was"),
    ),
    Case(
        "numbers as written",
        "numbers.json",
        raw(b'{"a": 1.10, "b": 12345678901234567890123, "c": 1e400, "d": -0.0}'),
        holds=("a: 1.10\nb: 12345678901234567890123\nc: 1e400\nd: -0.0",),
    ),
    Case(
        "NaN, and a key that stands twice",
        "twice.json",
        raw(b'{"a": NaN, "b": 1, "b": 2}'),
        holds=("a: NaN\nb: 1\nb: 2",),
        notices=("1 key stands twice in one object",),
    ),
    Case(
        "broken",
        "broken.json",
        raw(b'{"a": 1,\n "b": [2, 3}\n'),
        holds=('{"a": 1,\n "b": [2, 3}\n',),
        notices=("not JSON (line 2, column 12",),
    ),
    Case(
        "nested 10,000 deep",
        "deep.json",
        raw(b"[" * 10_000 + b"7" + b"]" * 10_000),
        holds=("[[[[7]]]]",),
        notices=("nested too deeply: it was read as it stands",),
    ),
    Case(
        "a picture inside",
        "picture.json",
        _json([{"name": "Ann", "photo": "data:image/png;base64," + "iVBORw0K" * 100}]),
        holds=("name: Ann\nphoto: [image/png, 822 characters of base64]",),
        notices=("1 file inside it (base64) not read",),
    ),
    Case(
        "a record longer than a chunk: each part has its first field",
        "long.json",
        _json([{"id": "K-7"} | {f"part {i}": "steel " * 8 for i in range(20)}]),
        holds=("id: K-7\npart 0: steel", "\n\nid: K-7\npart ", "part 19: steel"),
    ),
    Case("UTF-16", "wide.json", raw('[{"a": "é"}]'.encode("utf-16")), holds=("a: é",)),
    Case(
        "lines",
        "a.jsonl",
        _lines({"id": 1, "text": "é"}, {"id": 2, "text": "b"}),
        holds=("id: 1\ntext: é\n\nid: 2\ntext: b\n",),
    ),
    Case(
        "lines under .json",
        "lines.json",
        _lines({"id": 1}, {"id": 2}),
        holds=("id: 1\n\nid: 2\n",),
    ),
    Case(
        "a line that was cut",
        "cut.ndjson",
        _lines({"id": 1}, {"id": 2}, tail='{"id": 3, "te'),
        holds=("id: 1\n\nid: 2\n\n", '{"id": 3, "te'),
        notices=("1 line is not JSON, the first line 3",),
    ),
    Case(
        "YAML as it stands, with its comments",
        "a.yaml",
        _yaml,
        holds=("# checked by Ann\nversion: 1.10\n", "- name: press 0\n", "- name: press 2\n"),
    ),
    Case("aliases of aliases", "laughs.yml", raw(_LAUGHS.encode()), holds=(_LAUGHS,)),
    Case(
        "a template, which is no YAML",
        "chart.yaml",
        raw(b"name: {{ .Values.name }}\n{{- if .x }}\nport: 80\n{{- end }}\n"),
        holds=("name: {{ .Values.name }}\n{{- if .x }}\nport: 80\n",),
    ),
]
