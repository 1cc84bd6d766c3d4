"""The original's files: read in pieces, counted, and refused with the file, the product and the key."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from envs.errors import RunError, UsageError
from envs.shop.entries import (
    count_unknown,
    read_attributes,
    read_human_instructions,
    read_synthetic_instructions,
)
from envs.shop.goals import HumanInstruction, SyntheticInstruction
from envs.shop.load import ProductStream, load_catalogue
from envs.shop.product import DUMMY_ATTRIBUTE, product_from_record
from envs.shop.stream import stream_array, stream_object, stream_rows, stream_table
from tests.envs.shop.shop_files import entry, record, write

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "webshop"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
PIECES = st.sampled_from((1, 2, 3, 7, 64))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(JSON), PIECES, st.sampled_from((None, 1)), st.booleans())
def test_pieces_of_any_size_give_the_same_array(
    tmp_path: Path, content: list[Any], piece: int, indent: int | None, ascii_: bool
) -> None:
    file = write(tmp_path / "a.json", json.dumps(content, indent=indent, ensure_ascii=ascii_))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("envs.shop.stream.PIECE_CHARACTERS", piece)
        assert list(stream_array(file)) == json.loads(file.read_text(encoding="utf-8"))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.text(), JSON), PIECES)
def test_pieces_of_any_size_give_the_same_object(tmp_path: Path, content: dict[str, Any], piece: int) -> None:
    file = write(tmp_path / "o.json", content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("envs.shop.stream.PIECE_CHARACTERS", piece)
        assert list(stream_object(file)) == list(content.items())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.dictionaries(st.text(), JSON)), PIECES, st.booleans())
def test_rows_are_the_same_in_every_form(tmp_path: Path, content: list[Any], piece: int, ascii_: bool) -> None:
    texts = {
        "array": json.dumps(content, ensure_ascii=ascii_),
        "under": json.dumps({"before": {"rows": [1]}, "rows": content, "after": [{}]}, indent=1),
    }
    if content:
        texts["lines"] = "\n".join(json.dumps(row, ensure_ascii=ascii_) for row in content)
        texts["spread"] = "\n\n".join(json.dumps(row, indent=2) for row in content) + "\n "
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("envs.shop.stream.PIECE_CHARACTERS", piece)
        for name, text in texts.items():
            under = "rows" if name == "under" else "no such key"
            assert list(stream_rows(write(tmp_path / "r.json", text), under)) == json.loads(texts["array"])


def test_a_table_may_lie_under_a_key(tmp_path: Path) -> None:
    file = write(tmp_path / "t.json", {"a": 1, "t": {"b": 2, "t": {"c": 3}}, "d": {"t": 4}})
    expected = [(False, "a", 1), (True, "b", 2), (True, "t", {"c": 3}), (False, "d", {"t": 4})]
    assert list(stream_table(file, "t")) == expected
    assert list(stream_table(write(file, {"t": 3}), "t")) == [(False, "t", 3)]
    with pytest.raises(RunError, match="text follows the end"):
        list(stream_table(write(file, '{"t": {}} 3'), "t"))


@pytest.mark.parametrize("piece", [3, 1 << 20])
def test_lines_that_are_broken_are_numbered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int) -> None:
    monkeypatch.setattr("envs.shop.stream.PIECE_CHARACTERS", piece)
    for text, message in (
        ('{"a": 1}\n{"a": 2} {"a": 3}', "entry 2: a line break is missing before"),
        ('{"a": 1}\n{"a": 2}\n{"a" 3, "x": "a text that is long enough"}', "entry 3: Expecting ':'"),
        ('{"a": 1}\n{"a": 2', "ends in the middle, within or after entry 2"),
        ('{"a": 1},\n{"a": 2}', "entry 1: a line break is missing before"),
    ):
        with pytest.raises(RunError, match=message):
            list(stream_rows(write(tmp_path / "r.json", text)))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(st.data())
def test_a_cut_anywhere_is_noticed(tmp_path: Path, data: st.DataObject) -> None:
    text = json.dumps([record(1), record(2)], indent=data.draw(st.sampled_from((None, 2))), ensure_ascii=False)
    at = data.draw(st.integers(1, len(text) - 1))
    file = write(tmp_path / "cut.json", text[:at])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("envs.shop.stream.PIECE_CHARACTERS", data.draw(PIECES))
        with pytest.raises(RunError, match=r"cut.json (ends in the middle|is not valid JSON at entry [12])"):
            list(stream_array(file))


def test_what_json_load_takes_is_taken(tmp_path: Path) -> None:
    content = '\ufeff [NaN, Infinity, -Infinity, "\\ud83d", {"a": 1, "a": 2}]\r\n'
    assert repr(list(stream_array(write(tmp_path / "a.json", content)))) == repr(json.loads(content[1:]))
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(b"[1, 2]"))
    assert list(stream_array(tmp_path / "a.json.gz")) == [1, 2]


@pytest.mark.parametrize(
    ("content", "kind", "message"),
    [
        ("", RunError, "x.json is empty; a JSON array"),
        (" \n ", RunError, "x.json is empty"),
        ("asin,name\n1,2", RunError, "not a JSON file: it starts with 'asin,name"),
        ('{"products": []}', UsageError, "holds a JSON object .* a JSON array"),
        ("[1, 2", RunError, "ends in the middle, within or after entry 2; it is cut short"),
        ('[1, {"a": "b', RunError, "ends in the middle, within or after entry 2"),
        ("[1,]", RunError, "entry 1: a comma is followed by no entry"),
        ("[1 2]", RunError, "entry 1: a comma is missing before '2]'"),
        ("[1] [2]", RunError, "text follows the end"),
        ('[1, {"a" 1, "b": "a text that is long enough"}]', RunError, "entry 2: Expecting ':' .* near character 9"),
        ("[" + "[" * 100_000, RunError, "entry 1: a value cannot be read"),
        ("[" + "9" * 5000 + "]", RunError, "entry 1: a value cannot be read"),
    ],
)
def test_broken_files_say_what_is_wrong(tmp_path: Path, content: str, kind: type, message: str) -> None:
    file = write(tmp_path / "x.json", content)
    with pytest.raises(kind, match=message):
        list(stream_array(file))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There is no file"):
        list(stream_array(tmp_path / "absent.json"))
    (tmp_path / "latin.json").write_bytes('["é"]'.encode("latin-1"))
    with pytest.raises(RunError, match=r"latin.json is not UTF-8 text"):
        list(stream_array(tmp_path / "latin.json"))
    packed = gzip.compress(json.dumps([record(n) for n in range(50)]).encode())
    (tmp_path / "cut.gz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(RunError, match=r"cut.gz ends in the middle"):
        list(stream_array(tmp_path / "cut.gz"))
    with pytest.raises(RunError, match="a key must be a text"):
        list(stream_object(write(tmp_path / "o.json", "{1: 2}")))


def test_an_entry_that_never_ends_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("envs.shop.stream.PIECE_CHARACTERS", 100)
    monkeypatch.setattr("envs.shop.stream.LARGEST_ENTRY_CHARACTERS", 1000)
    file = write(tmp_path / "x.json", '["' + "x" * 5000)
    with pytest.raises(RunError, match=r"entry 1: Unterminated string .* near character 1"):
        list(stream_array(file))


def test_products_and_attributes_are_joined(tmp_path: Path) -> None:
    made = [record(number) for number in range(6)]
    file = write(tmp_path / "p.json", made)
    attributes = write(tmp_path / "a.json", {"B000000001": entry(1), "B000000002": {}, "B000000099": entry(9)})
    catalogue, report = load_catalogue(file, attributes)
    entries = {"B000000001": entry(1), "B000000002": {}}
    assert list(catalogue) == [product_from_record(row, entries.get(row["asin"])) for row in made]
    assert catalogue[1].attributes == ("kind 1", "easy care")
    assert catalogue[2].attributes == catalogue[0].attributes == (DUMMY_ATTRIBUTE,)
    assert (report.products, report.without_attributes, report.unknown_attributes) == (6, 4, 1)
    assert load_catalogue(file).catalogue[1].attributes == (DUMMY_ATTRIBUTE,)


def test_records_left_out_are_counted_and_the_first_of_equal_ones_wins(tmp_path: Path) -> None:
    rows = [
        record(1),
        record(2, asin="nan"),
        record(3, asin="B0000000012"),
        record(4, asin="B000000001"),
        {"asin": "B000000001"},  # a repeated record is not looked at any further
        record(5),
    ]
    catalogue, report = load_catalogue(write(tmp_path / "p.json", rows))
    assert [product.title for product in catalogue] == ["Café Chair No. 1", "Café Chair No. 5"]
    assert (report.records, report.products, report.repeated, report.unnamed, report.too_long) == (6, 2, 2, 1, 1)
    assert "2 products from 6 records (2 repeated, 1 unnamed, 1 too long left out)" in str(report)


def test_the_recorded_catalogue_is_loaded_as_the_original_does() -> None:
    catalogue, report = load_catalogue(GOLDEN / "catalogue.json", GOLDEN / "items_ins.json")
    counts = (report.records, report.products, report.repeated, report.unnamed, report.too_long, report.broken)
    assert counts == (1006, 1000, 3, 1, 2, 0)
    assert (report.without_attributes, report.unknown_attributes) == (9, 2)
    assert count_unknown(read_human_instructions(GOLDEN / "items_human_ins.json"), catalogue) == 1
    lines = gzip.decompress((GOLDEN / "loaded_products.jsonl.gz").read_bytes()).decode().split("\n")
    recorded = [json.loads(line) for line in lines if line]
    for product, expected in zip(catalogue, recorded, strict=True):
        options = {name: list(values) for name, values in product.options.items()}
        found = (product.asin, product.title, product.price_tag, options, product.option_images, product.image)
        keys = ("asin", "Title", "Price", "options", "option_to_image", "MainImage")
        assert found == tuple(expected[key] for key in keys)
        assert list(product.features) == expected["BulletPoints"]
        assert list(product.attributes) == expected["Attributes"]


REQUIRED = ("asin", "name", "category", "query", "product_category", "full_description", "small_description")


@pytest.mark.parametrize("key", REQUIRED)
def test_a_missing_key_names_file_product_and_key(tmp_path: Path, key: str) -> None:
    file = write(tmp_path / "p.json", [record(1), record(2, **{key: ...})])
    product = "(without asin)" if key == "asin" else "B000000002"
    with pytest.raises(UsageError) as caught:
        load_catalogue(file)
    for part in ("p.json, record 2", product, repr(key)):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("asin", 7),
        ("name", None),
        ("query", ["chairs"]),
        ("small_description", [1, 2]),
        ("pricing", 12.5),
        ("pricing", "$1.2.3"),
        ("customization_options", ["red"]),
        ("customization_options", {"Color": [{"name": "red"}]}),
        ("customization_options", {"Color": 3}),
        ("customization_options", {"Color": [{"value": "red", "image": 4}]}),
        ("title_nouns", ["chair", 3]),
        ("title_nouns", 3),
    ],
)
def test_a_wrong_type_names_file_and_product(tmp_path: Path, key: str, value: Any) -> None:
    file = write(tmp_path / "p.json", [record(1), record(2, **{key: value})])
    with pytest.raises(UsageError, match=r"p.json, record 2: "):
        load_catalogue(file)


@pytest.mark.parametrize("row", [3, None, "chair", [record(1)]])
def test_a_record_that_is_no_object(tmp_path: Path, row: Any) -> None:
    with pytest.raises(UsageError, match=r"p.json, record 1: A product must be an object"):
        load_catalogue(write(tmp_path / "p.json", [row]))


def test_broken_records_can_be_skipped_and_are_counted(tmp_path: Path) -> None:
    rows = [record(1), record(2, name=...), 5, record(4)]
    catalogue, report = load_catalogue(write(tmp_path / "p.json", rows), skip_broken=True)
    assert [product.asin for product in catalogue] == ["B000000001", "B000000004"]
    assert report.broken == 2
    assert "'name'" in report.examples[0]


@pytest.mark.parametrize("rows", [[], [record(1, asin="nan")]])
def test_a_file_without_a_product_is_refused(tmp_path: Path, rows: list[Any]) -> None:
    with pytest.raises(UsageError, match=r"p.json holds no product that can be sold: 0 products from"):
        load_catalogue(write(tmp_path / "p.json", rows))


def test_the_limit_counts_records_before_any_is_left_out(tmp_path: Path) -> None:
    file = write(tmp_path / "p.json", [record(1), record(1), record(2), record(3)])
    stream = ProductStream(file, limit=3)
    assert [product.asin for product in stream] == ["B000000001", "B000000002"]
    assert stream.report.records == 3
    assert len(list(stream)) == 2, "a second pass starts again"
    assert stream.report.records == 3
    with pytest.raises(UsageError, match="at least 1"):
        ProductStream(file, limit=0)


def test_files_that_did_not_change_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path / "p.json", [record(1), record(1), record(2)])
    attributes = write(tmp_path / "a.json", {"B000000001": entry(1)})
    cache = tmp_path / "cache"
    first = load_catalogue(file, attributes, cached=True, directory=cache)
    with monkeypatch.context() as patch:
        patch.setattr("envs.shop.load.stream_rows", None)
        patch.setattr("envs.shop.load.read_attributes", None)
        second = load_catalogue(file, attributes, cached=True, directory=cache)
    assert list(second.catalogue) == list(first.catalogue)
    assert second.report == first.report
    assert second.report.repeated == 1
    write(file, [record(1), record(2), record(3)])
    assert len(load_catalogue(file, attributes, cached=True, directory=cache).catalogue) == 3


def test_instructions_of_both_kinds(tmp_path: Path) -> None:
    row = {"instruction": "a red chair.", "instruction_attributes": ["easy care"], "instruction_options": ["red"]}
    humans = read_human_instructions(write(tmp_path / "h.json", {"B000000001": [row, row], "B000000077": [row]}))
    assert humans["B000000001"] == (HumanInstruction("a red chair.", ("easy care",), ("red",)),) * 2
    catalogue = load_catalogue(write(tmp_path / "p.json", [record(1)])).catalogue
    assert count_unknown(humans, catalogue) == 1
    synthetic = read_synthetic_instructions(write(tmp_path / "a.json", {"B000000001": entry(1), "B000000002": {}}))
    assert synthetic == {"B000000001": SyntheticInstruction("Find me a chair", ("kind 1",))}


@pytest.mark.parametrize(
    ("read", "content", "message"),
    [
        (read_attributes, {"B1": {"attributes": "soft"}}, "x.json, product 'B1': 'attributes' must be a list of texts"),
        (read_attributes, {"B1": {"attributes": [1]}}, "'attributes' must be a list of texts"),
        (read_attributes, {"B1": ["soft"]}, "x.json, product 'B1': the entry must be an object"),
        (read_attributes, [], "holds a JSON array"),
        (read_human_instructions, {"B1": {"instruction": "x"}}, "product 'B1': the entry must be a list"),
        (
            read_human_instructions,
            {"B1": [{"instruction_options": []}]},
            "x.json, product 'B1'.*instruction_attributes",
        ),
        (read_human_instructions, {"B1": [None]}, "x.json, product 'B1'"),
        (read_synthetic_instructions, {"B1": {"instruction": "x"}}, "x.json, product 'B1'.*instruction_attributes"),
    ],
)
def test_broken_entries_name_file_product_and_key(tmp_path: Path, read: Any, content: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read(write(tmp_path / "x.json", content))


LOAD_AND_MEASURE = """
import resource, sys
from pathlib import Path
from envs.shop.files import ShopFiles, open_shop
from envs.shop.load import load_catalogue
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
small, large, cache = map(Path, sys.argv[1:4])
def products(file):
    if sys.argv[4] == "shop":
        return open_shop(ShopFiles(products=str(file)), with_goals=False).products
    return load_catalogue(file, cached=True, directory=cache).catalogue
products(small)
before = peak()
print(len(products(large)), peak() - before)
"""


@pytest.mark.parametrize("what", ["catalogue", "shop"])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, what: str) -> None:
    count = 3000
    with (tmp_path / "large.json").open("w") as file:
        for number in range(count):
            row = record(number, full_description=f"{number} " + "a long description " * 900)
            file.write(("," if number else "[") + json.dumps(row))
        file.write("]")
    small = write(tmp_path / "small.json", [record(1)])
    size = (tmp_path / "large.json").stat().st_size
    command = [sys.executable, "-c", LOAD_AND_MEASURE, str(small), str(tmp_path / "large.json"), str(tmp_path / "c")]
    command.append(what)
    out = subprocess.run(command, check=True, capture_output=True, text=True)
    products, grown = map(int, out.stdout.split())
    assert size > 50_000_000
    assert products == count
    assert grown < 0.5 * size
