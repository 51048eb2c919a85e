"""What pages say of probes and of bands: the numbers of the tables, in a sentence that a reader can check against its rows."""

from dataclasses import replace

import polars as pl

from assets.contracts import TABLES
from reports.pages.probes import behaviour_of, probes_of
from reports.report_data import ReportData
from tests.reports.sample_data import AN, NEVER, PLANTED

CASES = {"discovery_cases": 70, "discovery_others": 900, "telling_cases": 60, "telling_others": 910}


def probe(kind: str, size: int, reached: float, layer: int | None = None) -> dict[str, object]:
    return {"outcome": "top_prediction", "token_id": AN, "token": " an", "kind": kind, "size": size, "layer": layer, "average_precision": reached,
            "discovery_average_precision": reached, **CASES}  # fmt: skip


def with_probes(data: ReportData, rows: list[dict[str, object]], members: list[tuple[int, int, int]]) -> ReportData:
    neurons = [{"outcome": "top_prediction", "token_id": AN, "token": " an", "size": size, "rank": 1 + place, "layer": layer, "neuron": neuron, "weight": 1.0}
               for place, (size, layer, neuron) in enumerate(members)]  # fmt: skip
    made = {"sparse_probes": rows, "probe_neurons": neurons}
    tables = {name: pl.DataFrame(part, schema=TABLES[name].schema) for name, part in made.items()}
    return replace(data, tables={**data.tables, **tables})


def test_the_sentence_sets_one_neuron_beside_eight_a_layer_the_stream_and_chance(data: ReportData) -> None:
    rows = [probe("neurons", 16, 0.63), probe("neurons", 8, 0.61), probe("neurons", 1, 0.44), probe("layer", 64, 0.66, 1)]
    rows += [probe("residual", 48, 0.93), probe("frequency", 0, 0.02)]
    (part,) = probes_of(with_probes(data, rows, [(1, 1, 17)]), AN)
    assert part["said"] == (
        "One neuron (L1 N17) alone reaches an average precision of 0.44 where 8 neurons reach 0.61; the whole layer 0.66, the residual "
        "stream 0.93, chance 0.02."
    )
    assert [row["label"] for row in part["rows"]] == [
        "chance", "one neuron", "8 neurons", "16 neurons", "all 64 neurons of layer 1", "the residual stream, 48 numbers",
    ]  # fmt: skip
    assert part["rows"][1]["neurons"] == [(1, 17)]


def test_a_token_with_few_kept_cases_is_told_so_and_nothing_else(data: ReportData) -> None:
    (part,) = probes_of(with_probes(data, [{**probe("frequency", 0, 0.0004), "telling_cases": 7}], []), AN)
    assert part["said"].startswith("Too few of its positions were kept: 7 cases in one half of the documents, 20 are needed in each.")
    assert part["rows"] == []


def test_the_planted_neuron_is_the_one_that_tells_its_token_and_its_highest_band_says_so(data: ReportData) -> None:
    by_outcome = {part["words"].name: part for part in probes_of(data, AN)}
    assert by_outcome["top_prediction"]["rows"][1]["neurons"] == [PLANTED]
    found = behaviour_of(data, PLANTED)
    assert found is not None
    labels = [row["label"].replace("\u202f", " ") for row in found["rows"]]
    assert labels[:4] == ["highest 0.5 %", "highest, 0.5 to 2 %", "highest, 2 to 10 %", "between"]
    highest = found["rows"][0]["told"]["top_prediction"]
    assert highest["first"][0]["token"] == " an"
    assert highest["tracked"] > 0.9
    assert found["said"][0].startswith("At its highest activations (")


def test_nothing_is_said_without_kept_positions(data: ReportData) -> None:
    empty = {name: data.table(name).clear() for name in ("sparse_probes", "probe_neurons", "neuron_bands", "neuron_band_tokens")}
    without = replace(data, tables={**data.tables, **empty})
    assert probes_of(without, AN) == []
    assert behaviour_of(without, PLANTED) is None
    assert probes_of(data, NEVER)[0]["rows"] == []
