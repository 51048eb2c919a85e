"""The scripts of the atlas, taken apart again and compared with the tables they come from."""

import base64
import gzip
import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from assets.atlas import neuron_record
from assets.atlas.atlas_texts import Texts
from assets.atlas.neuron_record import RIGHT, TABLES_OF_NEURONS, neuron_frames, neuron_records
from assets.contracts import TABLES
from assets.counting.histograms import HistogramError
from reports.atlas import words as words_module
from reports.atlas.data_files import write_atlas
from reports.atlas.neuron_scripts import LISTS, NEURONS_PER_FILE, SINGLE, with_pieces, write_neurons, written
from reports.atlas.overview import COLUMNS, overview
from reports.atlas.scripts import packed_rows
from reports.atlas.text_scripts import FOLLOWS, PIECES_PER_FILE
from reports.atlas.token_scripts import COLUMNS as TOKEN_COLUMNS
from reports.atlas.token_scripts import COUNTS, FIRST, TOKENS_PER_FILE
from reports.atlas.token_scripts import LISTS as TOKEN_LISTS
from reports.atlas.words import FAR, FARTHEST, word_index, write_words
from reports.report_data import ReportData
from reports.site import build_site
from tests.reports.sample_data import AN, LAYERS, NEURONS, PLANTED, VOCABULARY, empty_data, texts

DATA = "atlas/data"


def unpacked(site: Path, name: str) -> bytes:
    """What a page gets to see of a script."""
    found = re.fullmatch(rf'atlasData\("{name}","([A-Za-z0-9+/=]*)"\);\n', (site / DATA / f"{name}.js").read_text(encoding="ascii"))
    assert found, name
    return gzip.decompress(base64.b64decode(found[1], validate=True))


def value(site: Path, name: str) -> Any:
    return json.loads(unpacked(site, name))


def contents(site: Path) -> dict[str, Any]:
    text = (site / DATA / "contents.js").read_text(encoding="ascii")
    return json.loads(text.removeprefix("atlasContents(").removesuffix(");\n"))


def records_of(file: dict[str, Any], data: ReportData) -> list[dict[str, Any]]:
    """The records of one file, named again as the page does it."""
    keys = list(data.table("atlas_texts").select("document", "window_in_document", "first_position").iter_rows())
    found = []
    for place, (layer, neuron) in enumerate(file["neurons"]):
        named: dict[str, list[dict[str, Any]]] = {}
        for name in (*SINGLE, *LISTS):
            start, amount = sum(file["rows"][name][:place]), file["rows"][name][place]
            named[name] = [{column: cells[row] for column, cells in file["columns"][name].items()} for row in range(start, start + amount)]
        for example in named["examples"]:
            places = example.pop("places")
            example["activations"] = [value if value is None else value / 10**places for value in example["activations"]]
            document, window, _ = keys[example.pop("piece")]
            example |= {"document": document, "window_in_document": window, "first_position": max(0, example["position"] - 40)}
        found.append({"layer": layer, "neuron": neuron, **named, **{name: next(iter(named[name]), None) for name in SINGLE}})
    return found


def test_every_record_lies_in_the_file_that_its_number_tells(data: ReportData, site: Path) -> None:
    held = {}
    for place in range(-(-LAYERS * NEURONS // NEURONS_PER_FILE)):
        for record in records_of(value(site, f"neurons-{place:04d}"), data):
            assert (record["layer"] * NEURONS + record["neuron"]) // NEURONS_PER_FILE == place
            held[record["layer"], record["neuron"]] = record
    every = [record for records in neuron_records({name: data.table(name) for name in TABLES_OF_NEURONS}) for record in records]
    assert len(every) == LAYERS * NEURONS
    assert held == {(record["layer"], record["neuron"]): record for record in every}


def test_files_do_not_depend_on_how_many_records_are_made_at_a_time(
    data: ReportData, site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neuron_record, "BLOCK", 5)  # no part of a file's
    (tmp_path / DATA).mkdir(parents=True)
    frames = list(neuron_frames({name: data.table(name) for name in TABLES_OF_NEURONS}))
    files = list(write_neurons(tmp_path, frames, NEURONS, data.table("atlas_texts")))
    assert len(frames) > len(files) > 1
    assert {file: (tmp_path / file).read_bytes() for file in files} == {
        f"{DATA}/{file.name}": file.read_bytes() for file in (site / DATA).glob("neurons-*.js")
    }


@pytest.mark.parametrize("largest", [8.12, 9.996, 9.994, 10.0, 1.0, 0.0999, 0.1, 123.4, 99950.0, 1e-9, 0.0])
def test_a_file_takes_nothing_from_an_activation(data: ReportData, largest: float) -> None:
    example = (
        data.table("atlas_examples")
        .head(1)
        .with_columns(activations=pl.Series([[largest, -0.3718 * largest, 0.004, None]], dtype=pl.List(pl.Float32)))
    )
    tables = {"atlas_histograms": data.table("atlas_histograms").head(1), "atlas_examples": example}
    (records,), (frame,) = neuron_records(tables), neuron_frames(tables)
    ((_, file),) = written(with_pieces(frame, data.table("atlas_texts")).with_columns(file=0))
    assert records_of(json.loads(file), data) == records


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_a_number_that_json_does_not_have_is_refused_wherever_it_stands(number: float) -> None:
    frame = pl.DataFrame({"row": [1], "inside": [[{"mean": 1.0, "deep": [[0.5, None, number]]}]]})
    with pytest.raises(ValueError, match=r"columns \['inside'\]: hold numbers that are not finite"):
        list(packed_rows(frame))
    (told,) = packed_rows(pl.DataFrame({"row": [1], "inside": [[0.5, None]]}))
    assert json.loads(told) == {"row": 1, "inside": [0.5, None]}


def test_an_example_without_its_text_is_refused(data: ReportData) -> None:
    (frame,) = neuron_frames({name: data.table(name) for name in TABLES_OF_NEURONS})
    with pytest.raises(HistogramError, match=r"examples have no text in atlas_texts; the tables are of two runs"):
        with_pieces(frame, data.table("atlas_texts")[1:])


def test_every_piece_of_text_lies_in_the_file_that_its_number_tells(data: ReportData, site: Path) -> None:
    held: list[tuple[Any, ...]] = []
    for place in range(-(-data.table("atlas_texts").height // PIECES_PER_FILE)):
        file = value(site, f"texts-{place:04d}")
        for tokens, predictions in zip(file["token_ids"], file["prediction_ids"], strict=True):
            came_true = [FOLLOWS if one == following else one for one, following in zip(predictions, [*tokens[1:], None], strict=True)]
            assert predictions == came_true, "a prediction that came true is told as such"
            predictions[:] = [tokens[at + 1] if one == FOLLOWS else one for at, one in enumerate(predictions)]
        held += zip(*(file[name] for name in data.table("atlas_texts").columns), strict=True)
        assert len(held) == min(data.table("atlas_texts").height, (place + 1) * PIECES_PER_FILE)
    assert held == data.table("atlas_texts").rows()
    assert place > 0


def test_the_vocabulary_is_that_of_the_model(site: Path) -> None:
    assert value(site, "vocabulary") == texts()


def test_contents_say_what_a_page_must_know(site: Path) -> None:
    told = contents(site)
    assert (told["layers"], told["neurons"], told["neuronsPerFile"]) == (LAYERS, NEURONS, NEURONS_PER_FILE)
    assert list(PLANTED) in told["studied"]
    assert told["firstWords"] == [value(site, f"words-{place:04d}")[0][0] for place in range(len(told["firstWords"]))]


def test_a_file_holds_nothing_that_markup_or_a_script_could_end(site: Path) -> None:
    for file in (site / DATA).glob("*.js"):
        assert not set(file.read_text(encoding="ascii")) & set("<&\u2028\u2029") or file.name == "contents.js", file.name


def test_no_neuron_takes_more_than_five_kilobytes(site: Path) -> None:
    assert sum(file.stat().st_size for file in (site / DATA).glob("neurons-*.js")) <= 5000 * LAYERS * NEURONS


# Words


def around(data: ReportData) -> Texts:
    return Texts.of(data.table("atlas_texts"))


def slow_words(data: ReportData) -> dict[str, dict[tuple[int, int], list[float]]]:
    """By word and neuron: how many standard deviations each example with the word lies from the mean. Letter by letter."""
    named = dict(enumerate(texts()))
    statistics = {(row["layer"], row["neuron"]): row for row in data.table("neuron_statistics").iter_rows(named=True)}
    found: dict[str, dict[tuple[int, int], list[float]]] = {}
    for example in around(data).around(data.table("atlas_examples")).iter_rows(named=True):
        own = statistics[example["layer"], example["neuron"]]
        if not own["variance"]:
            continue
        distance = round(abs(example["activation"] - own["mean"]) / own["variance"] ** 0.5, 1)
        letters = [(letter, place) for place, token in enumerate(example["token_ids"]) for letter in named[token]]
        words: set[str] = set()
        held: list[tuple[str, set[int]]] = [("", set())]
        for letter, place in letters:
            if re.fullmatch(r"\w", letter):
                held[-1] = (held[-1][0] + letter, held[-1][1] | {place})
            else:
                held.append(("", set()))
        for word, places in held:
            for place in places:
                activation = example["activations"][place]
                if activation * example["activation"] > 0 and abs(activation) >= abs(example["activation"]) / 2:
                    words.add(word.lower())
        if distance >= FAR:
            for word in words:
                number = example["layer"] * NEURONS + example["neuron"]
                found.setdefault(word, {}).setdefault((number, int(example["side"] == "bottom")), []).append(distance)
    return found


def test_the_index_of_words_is_that_of_reading_every_example(data: ReportData) -> None:
    index = word_index(data.table("atlas_examples"), around(data), data.table("neuron_statistics"), dict(enumerate(texts())), NEURONS)
    slow = slow_words(data)
    assert [word for word, _, _ in index] == sorted(slow)  # no word of the sample lies beyond the plane in which both orders agree
    for word, neurons, first in index:
        assert neurons == len({number for number, _ in slow[word]}), word
        expected = {(number, side): [len(found), max(found)] for (number, side), found in slow[word].items()}
        assert {(number, side): [examples, distance] for number, side, examples, distance in first} == expected, word
        strengths = [round(sum(min(FARTHEST, one) for one in slow[word][number, side]), 6) for number, side, _, _ in first]
        assert strengths == sorted(strengths, reverse=True), word


def test_the_planted_neuron_is_first_at_its_word(site: Path) -> None:
    entries = {
        word: (neurons, first)
        for place in range(len(contents(site)["firstWords"]))
        for word, neurons, first in value(site, f"words-{place:04d}")
    }
    number, side, examples, _ = entries["lemon"][1][0]
    assert (number, side, examples) == (PLANTED[0] * NEURONS + PLANTED[1], 0, 3)


def test_words_are_cut_into_files_and_long_lists_are_not_written_whole(
    data: ReportData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = word_index(data.table("atlas_examples"), around(data), data.table("neuron_statistics"), dict(enumerate(texts())), NEURONS)
    monkeypatch.setattr(words_module, "MOST_NEURONS", 2)
    monkeypatch.setattr(words_module, "POSTINGS_PER_FILE", 20)
    monkeypatch.setattr(words_module, "EXAMPLES", 7)  # read seven at a time, it is the same index
    index = word_index(data.table("atlas_examples"), around(data), data.table("neuron_statistics"), dict(enumerate(texts())), NEURONS)
    assert [(word, neurons, first[:2]) for word, neurons, first in whole] == [tuple(entry) for entry in index]
    (tmp_path / DATA).mkdir(parents=True)
    files, firsts = write_words(tmp_path, index)
    held = [value(tmp_path, f"words-{place:04d}") for place in range(len(files))]
    assert [entry for file in held for entry in file] == index
    assert firsts == [file[0][0] for file in held]
    assert len(files) > 3
    assert all(sum(len(first) for _, _, first in file) <= 20 for file in held)


def test_a_word_belongs_to_a_neuron_from_half_of_its_example_on_and_far_from_the_mean() -> None:
    named = dict(enumerate([" half", " less", "en", " against", " peak", "ed"]))
    activations = [4.0, 3.9, 3.9, -8.0, 8.0, 0.0]
    examples, read = made_up([(8.0, list(named), activations)])
    for deviation, words in ((4.0, ["half", "peaked"]), (4.2, [])):  # two deviations from the mean, and not quite
        statistics = pl.DataFrame({"layer": [0], "neuron": [0], "mean": [0.0], "variance": [deviation**2]},
                                  schema_overrides={"layer": pl.Int32, "neuron": pl.Int32})  # fmt: skip
        assert [word for word, _, _ in word_index(examples, read, statistics, named, 1)] == words


def made_up(rows: list[tuple[float, list[int], list[float]]]) -> tuple[pl.DataFrame, Texts]:
    """Highest examples of one neuron, each by its activation, its tokens and their activations, and the text that they are in."""
    places = [{"document": document, "window_in_document": 0, "first_position": 0} for document in range(len(rows))]
    examples = [
        {**place, "layer": 0, "neuron": 0, "side": "top", "activation": peak, "activations": own}
        for place, (peak, _, own) in zip(places, rows, strict=True)
    ]
    pieces = [{**place, "token_ids": tokens, "prediction_ids": tokens} for place, (_, tokens, _) in zip(places, rows, strict=True)]
    table = pl.DataFrame(pieces, schema=TABLES["atlas_texts"].schema)
    return pl.DataFrame(examples, schema={name: TABLES["atlas_examples"].schema[name] for name in examples[0]}), Texts.of(table)


def test_words_are_in_the_order_in_which_a_browser_compares_them() -> None:
    letters = {0: "\U0001d518", 1: "\uff21", 2: "z"}  # by code points the first is the last, by UTF-16 the second
    examples, read = made_up([(9.0, [token], [9.0]) for token in letters])
    statistics = pl.DataFrame(
        {"layer": [0], "neuron": [0], "mean": [0.0], "variance": [1.0]}, schema_overrides={"layer": pl.Int32, "neuron": pl.Int32}
    )
    index = word_index(examples, read, statistics, letters, 1)
    assert [word for word, _, _ in index] == ["z", "\U0001d518", "\uff41"]


# Tokens and the overview


ALREADY: dict[str, tuple[str, dict[str, str]]] = {"writes": ("contribution_screen", {"end": "writes"}), "writes_against": ("contribution_screen", {"end": "writes_against"}),
           "goes_along": ("token_neuron_screen", {}), "congruence": ("congruence_tokens", {"convention": RIGHT})}  # fmt: skip


def by_token(site: Path) -> dict[int, dict[str, Any]]:
    """What the scripts hold of every token, named."""
    return {
        int(token): dict(zip(TOKEN_COLUMNS, cells, strict=True))
        for place in range(-(-VOCABULARY // TOKENS_PER_FILE))
        for token, cells in value(site, f"tokens-{place:04d}").items()
    }


def told(row: dict[str, Any], name: str) -> list[Any]:
    """The row as a list holds it, its numbers with three digits."""
    return [
        row["layer"],
        row["neuron"],
        *(float(f"{cell:.3g}") if isinstance(cell := row[column], float) else cell for column in TOKEN_LISTS[name]),
    ]


def rows_where(data: ReportData, table: str, **where: Any) -> list[dict[str, Any]]:
    return [row for row in data.table(table).iter_rows(named=True) if all(row[key] == is_so for key, is_so in where.items())]


def test_a_token_names_the_first_neurons_of_each_table(data: ReportData, site: Path) -> None:
    held = by_token(site)
    counts = {row["token_id"]: row for row in data.table("token_counts").iter_rows(named=True)}
    assert list(held) == sorted(counts)
    for token_id, found in held.items():
        assert [found[name] for name in COUNTS] == [counts[token_id][name] for name in COUNTS]
        for name, (table, where) in ALREADY.items():
            rows = sorted(rows_where(data, table, token_id=token_id, **where), key=lambda row: row["rank"])
            assert found[name] == [told(row, name) for row in rows[:FIRST]], (token_id, name)
    assert held[AN]["writes"][0][:2] == list(PLANTED)


def test_a_token_names_the_neurons_that_have_it_among_their_own_first_tokens(data: ReportData, site: Path) -> None:
    held = by_token(site)
    for token_id, found in held.items():
        rows = rows_where(data, "congruence_neurons", token_id=token_id, convention=RIGHT)
        rows = sorted(rows, key=lambda row: (-abs(row["congruence"]), row["layer"], row["neuron"]))
        assert found["own_first"] == [told(row, "own_first") for row in rows[:FIRST]], token_id
    assert {end for found in held.values() for *_, end in found["own_first"]} == {"top", "bottom"}


def test_a_tracked_token_names_its_best_neurons_and_no_other_does(data: ReportData, site: Path) -> None:
    held = by_token(site)
    assert {token_id for token_id, found in held.items() if found["scores"]} == set(data.ranked_scores["token_id"])
    for token_id, found in held.items():
        ranked = data.ranked_scores.filter(token_id=token_id).sort("place").head(FIRST)
        assert found["scores"] == [told(row, "scores") for row in ranked.iter_rows(named=True)]


def test_negated_weights_of_a_gated_model_turn_signs_and_name_no_other_neuron(data: ReportData, tmp_path: Path) -> None:
    flipped = (pl.col("layer") + pl.col("neuron")) % 2 == 0
    turn = pl.when(flipped).then(-pl.col("congruence")).otherwise("congruence")
    ends = pl.when(flipped).then(pl.col("end").replace({"top": "bottom", "bottom": "top"})).otherwise("end")
    gated = replace(data, facts={**data.facts, "is_gated": True})
    turned = {"congruence_neurons": data.table("congruence_neurons").with_columns(turn, ends),
              "strongest_neurons": data.table("strongest_neurons").with_columns(turn), "congruence_tokens": data.table("congruence_tokens").clear()}  # fmt: skip
    sites = [tmp_path / "plain", tmp_path / "turned"]
    for site, tables in zip(sites, ({}, turned), strict=True):
        write_atlas(replace(gated, tables={**data.tables, **tables}), site)
    one, other = map(by_token, sites)
    signs = {"top": "bottom", "bottom": "top"}
    assert any(found["congruence"] for found in one.values())
    for token_id, found in one.items():
        for name in ("congruence", "own_first"):
            expected = [
                [layer, neuron, -value, *[signs.get(cell, cell) for cell in more]]
                if (layer + neuron) % 2 == 0
                else [layer, neuron, value, *more]
                for layer, neuron, value, *more in found[name]
            ]
            assert other[token_id][name] == expected, (token_id, name)


def test_the_overview_holds_one_number_of_each_kind_for_every_neuron(data: ReportData, site: Path) -> None:
    columns = overview(data, LAYERS, NEURONS)
    packed = np.frombuffer(unpacked(site, "overview"), "<f4").reshape(len(COLUMNS), LAYERS * NEURONS)
    slow = {
        "deviation": lambda rows: [row["variance"] ** 0.5 for row in rows["neuron_statistics"]],
        "separation": lambda rows: [row["separation"] for row in rows["token_neuron_scores"]],
        "auroc": lambda rows: [max(rows["token_neuron_scores"], key=lambda row: row["separation"] or 0)["auroc"]] if rows["token_neuron_scores"] else [],
        "difference": lambda rows: [row["standardized_difference"] for row in rows["atlas_tokens"] if row["by"] == "predicted"],
        "contribution": lambda rows: [row["contribution"] for row in rows["contribution_screen"]],
        "congruence": lambda rows: [row["congruence"] for row in rows["congruence_neurons"] if row["convention"] == RIGHT],
    }  # fmt: skip
    tables = ("neuron_statistics", "token_neuron_scores", "atlas_tokens", "contribution_screen", "congruence_neurons")
    for neuron in (PLANTED, (0, 0), (0, 63), (2, 63)):
        rows = {name: data.table(name).filter(layer=neuron[0], neuron=neuron[1]).to_dicts() for name in tables}
        number = neuron[0] * NEURONS + neuron[1]
        for place, (name, _, _) in enumerate(COLUMNS):
            found = slow[name](rows) if name in slow else [row[name] for row in rows["neuron_statistics"]]
            sizes = [one if name not in slow else abs(one) for one in found if one is not None]
            expected = max(sizes) if sizes else np.nan
            assert columns[name][number] == pytest.approx(expected, rel=1e-6, nan_ok=True), (neuron, name)
            assert packed[place, number] == pytest.approx(expected, rel=1e-3, nan_ok=True), (neuron, name)


# Without an atlas, and without anything else


def test_without_an_atlas_there_is_no_folder_and_no_link_to_it(data: ReportData, tmp_path: Path) -> None:
    names = ("atlas_histograms", "atlas_examples", "atlas_texts", "atlas_tokens")
    without = replace(data, tables={name: frame.clear() if name in names else frame for name, frame in data.tables.items()})
    files = build_site(without, tmp_path)
    assert not (tmp_path / "atlas").exists()
    assert not [file for file in files if "atlas." in file or "atlas_" in file.replace("data/atlas_", "")]
    for page in tmp_path.glob("*.html"):
        html = page.read_text(encoding="utf-8")
        assert "atlas/" not in html, page.name
        assert "data-atlas" not in html, page.name


def test_nothing_is_written_of_a_study_of_which_nothing_was_computed(tmp_path: Path) -> None:
    assert write_atlas(empty_data(), tmp_path) == []


@pytest.mark.parametrize("empty", ["atlas_examples", "atlas_tokens", "neuron_statistics", "activation_bins", "token_counts", "congruence_neurons", "congruence_reads",
                                   "congruence_tokens", "token_neuron_scores", "token_neuron_screen", "contribution_screen", "strongest_neurons"])  # fmt: skip
def test_any_table_may_be_empty(data: ReportData, tmp_path: Path, empty: str) -> None:
    some = pl.col("layer") == 0
    tables = {
        name: frame.filter(some) if name.startswith("atlas_") and name != "atlas_texts" else frame for name, frame in data.tables.items()
    }
    files = write_atlas(replace(data, tables={**tables, empty: tables[empty].clear()}), tmp_path)
    assert f"{DATA}/neurons-0001.js" in files
    assert f"{DATA}/neurons-0002.js" not in files
    assert sorted(files) == sorted(file.relative_to(tmp_path).as_posix() for file in tmp_path.rglob("*.js"))
    assert len(value(tmp_path, "neurons-0000")["neurons"]) == NEURONS_PER_FILE
