"""The page over two studies as a file: its sentences, its links, any table empty, hostile texts, the same bytes for the same input."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from assets.contracts import STUDY_DIFFERENCE_TABLES
from assets.store import Place
from assets.study_difference.curve_differences import Curves, curve_differences
from assets.study_difference.fact_differences import fact_differences
from assets.study_difference.neuron_differences import neuron_differences
from assets.study_difference.token_differences import token_differences
from reports import site as site_module
from reports.site import UnplacedError
from reports.study_difference.page import Linked
from reports.study_difference.publication import NAME, SITE, difference_place, pair_name
from reports.study_difference.sentences import is_unchanged, reply
from reports.study_difference.site import build_study_difference_site
from tests.reports.test_site import OF_TWO_STUDIES, Parsed, misplace, placements
from tests.study_difference import AN, A, bins_of, counted, curve, scores, written

NAMES = ("demo", "half")
LINKED = (Linked("demo", True, frozenset({(0, 0)}), frozenset({AN})), Linked("half", True, frozenset({(0, 0), (0, 1)}), frozenset({AN})))
BINS = bins_of((4.0, -8), (4.0, -8), bins=16)
Tables = dict[str, pl.DataFrame]


def tables_of(moved: bool, seed: int = 3) -> Tables:
    """Two neurons, two tokens, the second with hostile text; equal studies, or a second one in which neuron 1 moved and leads."""
    values = np.random.default_rng(seed).normal(size=(2, 400))
    others = np.stack([values[0], values[1] + 0.75]) if moved else values
    ours = (counted(values, BINS), BINS)
    theirs = (counted(others, BINS), BINS)
    writes = (written({1: 2.0, 2: -1.0}, {3: 1.0}), written({1: 2.0, 2: -1.0}, {3: 1.0, 4: -1.0} if moved else {3: 1.0}))
    neurons = neuron_differences(ours, theirs, writes, is_gated=True)
    leading = (
        scores({AN: [0.9, 0.2], A: [0.3, -0.2]}, 2),
        scores({AN: [0.1, 0.4], A: [0.3, -0.2]} if moved else {AN: [0.9, 0.2], A: [0.3, -0.2]}, 2),
    )
    tokens, token_neurons = token_differences(*leading)
    predicted, shifted = values[0] > 0.5, values + (0.3 if moved else 0)
    curves = [pl.concat([curve(one[0], predicted, BINS, 0, token) for token in (AN, A)]) for one in (values, shifted)]
    pairs, folded = curve_differences(Curves(curves[0], BINS, 5), Curves(curves[1], BINS, 5), neurons)
    asked = {"model": {"id": "model"}, "corpus": {"files": ["<img src=x onerror=alert(1)>.jsonl"]}, "merged_histograms": {"positions": 400}}
    return {
        "study_difference_facts": fact_differences(
            {**asked, "min_count": 20}, {**asked, "min_count": 10} if moved else {**asked, "min_count": 20}
        ),
        "study_difference_neurons": neurons,
        "study_difference_tokens": tokens,
        "study_difference_token_neurons": token_neurons,
        "study_difference_pairs": pairs,
        "study_difference_curves": folded,
    }


def page(tables: Tables, folder: Path, linked: tuple[Linked, Linked] = LINKED) -> Parsed:
    folder.mkdir()
    build_study_difference_site(tables, linked, [], folder)
    return Parsed((folder / "index.html").read_text(encoding="utf-8"))


@pytest.mark.parametrize(("template", "number"), placements([OF_TWO_STUDIES]), ids=lambda part: str(part))
@pytest.mark.parametrize("times", [0, 2])
def test_a_figure_that_the_template_does_not_place_once_is_an_error(
    template: str, number: int, times: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    misplace(template, number, times, tmp_path)
    for file in (site_module.HERE / "static").iterdir():
        (tmp_path / "static").mkdir(exist_ok=True)
        shutil.copy(file, tmp_path / "static")
    monkeypatch.setattr(site_module, "HERE", tmp_path)
    with pytest.raises(UnplacedError, match=rf"index\.html: figure [\w-]+: study_difference\.html places it {times} times"):
        page(tables_of(moved=True), tmp_path / "site")


def links(parsed: Parsed) -> set[str]:
    return {str(attributes.get("href")) for tag, attributes in parsed.tags if tag == "a"}


def test_equal_runs_show_that_nothing_changed(tmp_path: Path) -> None:
    tables = tables_of(moved=False)
    assert is_unchanged(tables)
    parsed = page(tables, tmp_path / "site")
    html = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    for sentence in (
        "Nothing changed: all 2 neurons have the same distribution in demo as in half, and the same neurons lead for every token.",
        "No neuron moved.",
        "What does not stand here is the same in both study files.",
        "2 neurons with distance 0",
    ):
        assert sentence in html
    assert ("span", {"class": "badge good"}) in parsed.tags
    assert ("span", {"class": "badge warning"}) not in parsed.tags


def test_what_moved_is_told_in_a_sentence_and_linked_into_both_reports(tmp_path: Path) -> None:
    tables = tables_of(moved=True)
    assert not is_unchanged(tables)
    parsed = page(tables, tmp_path / "site")
    moved = tables["study_difference_neurons"].filter(neuron=1)["distance"][0]
    assert moved > 0.2
    assert reply(tables, NAMES) == (
        f"Of 2 neurons, 1 moved by more than 0.1, farther than between the halves of either study's documents; the farthest is layer 0 neuron 1, by {moved:.2f}. "
        "The first writer changed for 1 of 2 tokens: “␣an” from layer 0 neuron 0 to layer 0 neuron 1."
    )
    assert "min_count" in parsed.text
    assert {
        "../demo/index.html",
        "../half/index.html",
        "../half/neuron-0-1.html",
        "../demo/neuron-0-0.html",
        f"../half/token-{AN}.html",
    } <= links(parsed)
    assert not {"../demo/neuron-0-1.html", f"../demo/token-{A}.html"} & links(parsed)


def test_a_neuron_without_a_page_of_its_own_is_linked_into_the_atlas(tmp_path: Path) -> None:
    with_atlas = (dataclasses.replace(LINKED[0], has_atlas=True), LINKED[1])
    found = links(page(tables_of(moved=True), tmp_path / "site", with_atlas))
    assert {"../demo/neuron-0-0.html", "../demo/atlas/neuron.html#L0-N1", "../half/neuron-0-1.html"} <= found
    assert not [link for link in found if link.startswith("../half/atlas")]


def test_what_the_documents_alone_can_give_is_told_of_what_moved() -> None:
    tables = tables_of(moved=True)
    neurons = tables["study_difference_neurons"].with_columns(distance=pl.lit(0.4), halves_distance=pl.Series([0.5, 0.3]))
    assert "2 moved by more than 0.1, 1 of them farther than between the halves" in reply(
        {**tables, "study_difference_neurons": neurons}, NAMES
    )
    luck = neurons.with_columns(halves_distance=pl.lit(None, pl.Float64))
    assert "2 moved by more than 0.1, none of them farther than between" in reply({**tables, "study_difference_neurons": luck}, NAMES)


def test_a_study_without_a_report_is_not_linked(tmp_path: Path) -> None:
    parsed = page(tables_of(moved=True), tmp_path / "site", (Linked("demo", False), Linked("half", False)))
    assert not {link for link in links(parsed) if link.startswith("../")}


def test_texts_of_tokens_and_files_are_never_markup(tmp_path: Path) -> None:
    parsed = page(tables_of(moved=True), tmp_path / "site")
    assert not [tag for tag, _ in parsed.tags if tag in ("img", "b")]
    assert "<img src=x onerror=alert(1)>.jsonl" in parsed.text
    payloads = [json.loads(script) for script in parsed.scripts if script.strip()]
    assert len(payloads) == 3
    assert "&lt;/script&gt;&lt;b&gt;" in json.dumps(payloads[2], ensure_ascii=False)


@pytest.mark.parametrize("name", [*STUDY_DIFFERENCE_TABLES, "all"])
def test_any_table_may_be_empty(name: str, tmp_path: Path) -> None:
    tables = tables_of(moved=True)
    empty = {one: frame.clear() for one, frame in tables.items() if name in (one, "all")}
    folder = tmp_path / "site"
    parsed = page({**tables, **empty}, folder)
    assert "What changed between demo and half?" in parsed.text
    assert (folder / "data" / f"{'study_difference_facts' if name == 'all' else name}.parquet").is_file()


@pytest.mark.parametrize("column", ["distance", "likeness", "mean_b", "share_above_zero_b", "sign"])
def test_what_is_missing_of_every_neuron_is_a_dash(column: str, tmp_path: Path) -> None:
    tables = tables_of(moved=True)
    neurons = tables["study_difference_neurons"]
    missing = neurons.with_columns(pl.lit(None, neurons.schema[column]).alias(column))
    parsed = page({**tables, "study_difference_neurons": missing}, tmp_path / "site")
    assert "None" not in parsed.text
    assert "nan" not in parsed.text.split()
    if column == "distance":
        assert "2 neurons could not be compared" in parsed.text


def test_where_no_contribution_was_measured_predictors_are_told() -> None:
    tables = tables_of(moved=True)
    left = tables["study_difference_tokens"].filter(pl.col("measure") != "contribution")
    assert "The first predictor changed for 1 of 2 tokens: “␣an”" in reply({**tables, "study_difference_tokens": left}, NAMES)
    same = left.filter(token_id=A)
    assert "The first predictor of the one token that both track is the same neuron." in reply(
        {**tables, "study_difference_tokens": same}, NAMES
    )


def test_every_file_that_the_page_offers_is_there_and_long_tables_are_offered_as_parquet_alone(tmp_path: Path) -> None:
    tables = tables_of(moved=True)
    neurons = tables["study_difference_neurons"]
    many = pl.concat([neurons] * 2501).with_columns(neuron=pl.int_range(0, 5002, dtype=pl.Int32))
    parsed = page({**tables, "study_difference_neurons": many}, tmp_path / "site")
    offered = {link for link in links(parsed) if link.startswith("data/")}
    assert offered == {f"data/{file.name}" for file in (tmp_path / "site" / "data").iterdir()}
    assert "data/study_difference_neurons.csv" not in offered
    assert len(offered) == 2 * len(STUDY_DIFFERENCE_TABLES) - 1


@pytest.mark.parametrize("name", ["one", "one_and", "_and_one", "../one_and_other", "one_and_other_and_more", "One_and_other"])
def test_only_the_names_of_two_studies_name_a_page(name: str) -> None:
    assert difference_place(pair_name("one-and-more", "other")) == Place(NAME, SITE, "one-and-more_and_other")
    assert difference_place(name) is None


def test_equal_input_gives_equal_bytes(tmp_path: Path) -> None:
    contents = []
    for name in ("one", "other"):
        page(tables_of(moved=True), tmp_path / name)
        contents.append(
            {str(file.relative_to(tmp_path / name)): file.read_bytes() for file in (tmp_path / name).rglob("*") if file.is_file()}
        )
    assert contents[0] == contents[1]


def test_both_curves_of_a_pair_are_drawn_at_the_same_activations(tmp_path: Path) -> None:
    parsed = page(tables_of(moved=True), tmp_path / "site")
    (views,) = [payload for payload in map(json.loads, filter(str.strip, parsed.scripts)) if len(payload) > 1]
    drawn = [trace for trace in views[0]["data"] if trace["showlegend"]]
    assert [trace["name"] for trace in drawn] == ["demo", "half"]
    assert drawn[0]["x"] == drawn[1]["x"]
    assert drawn[0]["y"] != drawn[1]["y"]
