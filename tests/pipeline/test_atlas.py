"""The atlas of a whole study: equal to plain Hugging Face code on the published windows, whatever the shards; remade by what it reads alone."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from assets.atlas.atlas_texts import PLACE, Texts
from assets.contracts import TABLES
from assets.counting.batches import Batch
from assets.deployment import Deployment
from assets.freshness import Freshness
from assets.histograms.histogram_store import read_histograms
from assets.publication import materialize
from assets.quality.every_check import outcomes_of
from assets.stages import STAGES, ancestors
from assets.store import Place, Record, Store
from assets.study import Study
from assets.tables import read_table
from tests.freshness import NAME, Ground
from tests.slow_reimplementation import run_plain_model
from tests.stage_runs import compute_of

ATLAS = STAGES["atlas"].tables
NEEDED = [name for name in STAGES if name in ancestors("atlas") | {"atlas", "neuron_statistics"}]


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    return Ground(tmp_path_factory.mktemp("ground"))


def run(study: Study, data: Path) -> dict[Place, Record]:
    """What the atlas needs, and the atlas."""
    records = {}
    for stage in (STAGES[name] for name in NEEDED):
        for shard in study.shard_names if stage.is_sharded else [None]:
            made = materialize(study, stage, shard, Deployment(data), compute_of(stage), lambda text: None)
            records[Place(study.name, stage.name, shard)] = made
    return records


@pytest.fixture(scope="module")
def made(ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[Place, Record]]:
    """The data folder of the planted study in two shards, and its records."""
    data = tmp_path_factory.mktemp("made")
    return data, run(ground.study({"shards": 2}), data)


def tables_of(records: dict[Place, Record]) -> dict[str, pl.DataFrame]:
    return {name: read_table(records[Place(NAME, "atlas")].folder, TABLES[name]) for name in ATLAS}


def plain(ground: Ground, records: dict[Place, Record]) -> dict[tuple[int, int], tuple[list[int], np.ndarray, list[int]]]:
    """By document and window: token ids, activations [layer, position, neuron] and predictions of plain code."""
    windows = [read_table(records[Place(NAME, "token_windows", shard)].folder, TABLES["token_windows"]) for shard in ("0000", "0001")]
    rows = list(pl.concat(windows).iter_rows(named=True))
    batches = (
        Batch(np.array([row["token_ids"]]), np.array([row["length"]]), np.array([row["document"]]), np.array([row["window_in_document"]]))
        for row in rows
    )
    found = {}
    for row, (_, activations, predictions, *_) in zip(rows, run_plain_model(ground.folder / "model", batches), strict=True):
        found[row["document"], row["window_in_document"]] = (row["token_ids"], activations[:, 0], predictions[0].tolist())
    return found


def test_every_neuron_has_what_plain_code_finds_on_the_published_windows(ground: Ground, made: tuple[Path, dict[Place, Record]]) -> None:
    tables, known = tables_of(made[1]), plain(ground, made[1])
    counted = np.concatenate([activations[:, 1:] for _, activations, _ in known.values()], axis=1)  # [layer, position, neuron]
    tokens_of = {
        "predicted": np.concatenate([predictions[1:] for *_, predictions in known.values()]),
        "current": np.concatenate([ids[1:] for ids, *_ in known.values()]),
    }

    histograms = tables["atlas_histograms"]
    assert histograms.select("layer", "neuron").rows() == list(np.ndindex(3, 16))
    for layer, neuron, counts in histograms.iter_rows():
        within = ((counted[layer, :, neuron] >= -1) & (counted[layer, :, neuron] < 15)).sum()
        assert sum(counts) == within, (layer, neuron)

    examples = Texts.of(tables["atlas_texts"]).around(tables["atlas_examples"])
    by_side = examples.group_by("layer", "neuron", "side").len()
    amounts = {side: sorted(of["len"].unique()) for (side,), of in by_side.group_by("side")}
    assert (amounts["top"], amounts["bottom"], amounts["random"]) == ([3], [3], [2])  # as many as the study keeps, and two places
    assert {"between_top", "between_bottom"} <= amounts.keys()
    assert examples.filter(side="random").select(PLACE).n_unique() == 2
    between = examples.filter(pl.col("side").str.starts_with("between")).with_columns(side=pl.col("side").str.strip_prefix("between_"))
    extremes = examples.filter(rank=1).select("layer", "neuron", "side", extreme="activation")
    shares = between.join(extremes, on=["layer", "neuron", "side"]).select(pl.col("activation") / pl.col("extreme")).to_series()
    assert shares.len() == between.height > 5
    assert shares.is_between(0, 0.75).all()
    for row in examples.iter_rows(named=True):
        ids, activations, predictions = known[row["document"], row["window_in_document"]]
        own, first = activations[row["layer"], :, row["neuron"]], row["first_position"]
        stop = first + len(row["token_ids"])
        assert (first, stop) == (max(0, row["position"] - 40), min(len(ids), row["position"] + 13))
        assert (row["token_ids"], row["prediction_ids"]) == (ids[first:stop], predictions[first:stop])
        assert row["activations"] == pytest.approx(own[first:stop].tolist(), rel=1e-3, abs=1e-4)
        assert row["activation"] == pytest.approx(own[row["position"]], abs=1e-5)
        if row["side"].startswith("between"):
            extreme = own[1:].max() if row["side"] == "between_top" else own[1:].min()
            assert row["activation"] == pytest.approx(extreme, abs=1e-5)
        if row["rank"] == 1 and row["side"] in ("top", "bottom"):
            most = counted[row["layer"], :, row["neuron"]]
            assert row["activation"] == pytest.approx(most.max() if row["side"] == "top" else most.min(), abs=1e-5)

    tokens = tables["atlas_tokens"]
    assert tokens.filter(by="predicted").height > 100
    assert tokens.filter(by="current").height > 100
    for row in tokens.iter_rows(named=True):
        own, is_here = counted[row["layer"], :, row["neuron"]], tokens_of[row["by"]] == row["token_id"]
        assert row["positions"] == is_here.sum()
        assert row["mean_there"] == pytest.approx(own[is_here].mean(), abs=1e-5)
        assert row["mean_elsewhere"] == pytest.approx(own[~is_here].mean(), abs=1e-5)
    planted = tokens.filter(layer=1, neuron=3, by="predicted", end="high", rank=1)
    assert planted["token"].to_list() == [" an"]


def test_neighbours_are_those_of_all_pairs(ground: Ground, made: tuple[Path, dict[Place, Record]]) -> None:
    from transformers import GPT2LMHeadModel

    model: Any = GPT2LMHeadModel.from_pretrained(str(ground.folder / "model"))
    counters = read_histograms(made[1][Place(NAME, "merged_histograms")])
    kept, background = np.asarray(counters["kept_activations"]), np.asarray(counters["kept_is_background"]).astype(bool)
    written = [block.mlp.c_proj.weight for block in model.transformer.h]  # [neuron, width]
    read = [(block.ln_2.weight[:, None] * block.mlp.c_fc.weight).T for block in model.transformer.h]
    centred = [np.concatenate([weight.detach().double().numpy() for weight in of]) for of in (written, read)]
    vectors = [kept[background].reshape(background.sum(), -1).T.astype(np.float64), *(of - of.mean(1, keepdims=True) for of in centred)]
    table = tables_of(made[1])["atlas_neighbours"]
    for kind, values, told in zip(("together", "writes", "reads"), vectors, (4, 3, 3), strict=True):
        if kind == "together":
            values = values - values.mean(1, keepdims=True)
        length = np.linalg.norm(values, axis=1)
        every = values @ values.T / np.maximum(np.outer(length, length), 1e-30)
        np.fill_diagonal(every, 0)
        own = table.filter(kind=kind)
        assert own["layer"].n_unique() == 3
        for (layer, neuron, end), rows in own.group_by("layer", "neuron", "end"):
            sign = 1 if end == "alike" else -1
            likeness = sign * every[16 * layer + neuron]
            assert rows.height == min(told, (likeness > 1e-9).sum())
            assert rows["likeness"].to_list() == pytest.approx((sign * np.sort(likeness)[::-1][: rows.height]).tolist(), abs=2e-6)
            others = (16 * rows["other_layer"] + rows["other_neuron"]).to_numpy()
            assert every[16 * layer + neuron, others].tolist() == pytest.approx(rows["likeness"].to_list(), abs=2e-6)


def test_all_checks_of_the_atlas_hold_of_the_study_and_of_an_empty_one(
    ground: Ground, made: tuple[Path, dict[Place, Record]], tmp_path: Path
) -> None:
    empty = run(ground.study({"shards": 2, "atlas.neurons": "none"}), shutil.copytree(made[0], tmp_path / "data", symlinks=True))
    for neurons, records in (("none", empty), ("all", made[1])):
        study = ground.study({"shards": 2, "atlas.neurons": neurons})
        for asset in ("atlas", "token_windows"):
            outcomes = outcomes_of(study, asset, labelled(records), study.shard_names)
            assert {outcome.check for outcome in outcomes} >= {f"{table}_contract" for table in STAGES[asset].tables}
            assert [outcome for outcome in outcomes if not outcome.passed] == []
    study = ground.study({"shards": 2})
    found = outcomes_of(study, "atlas", labelled(empty), study.shard_names)
    assert [outcome.observed for outcome in found if not outcome.passed] == ["48 of 48 cells missing"]


def labelled(records: dict[Place, Record]) -> dict[str, Record]:
    return {f"{place.asset}/{place.shard}" if place.shard else place.asset: record for place, record in records.items()}


@pytest.mark.parametrize("shards", [1, 3])
def test_any_shards_give_the_same_tables(ground: Ground, made: tuple[Path, dict[Place, Record]], tmp_path: Path, shards: int) -> None:
    other = tables_of(run(ground.study({"shards": shards}), tmp_path))
    for name, table in tables_of(made[1]).items():
        # Moments are sums in another order; where nearly all variance lies between the groups, what is left loses half of its digits.
        assert_frame_equal(table, other[name], check_exact=name != "atlas_tokens", rel_tol=1e-7, abs_tol=1e-12)


def test_an_atlas_of_no_neurons_is_empty(ground: Ground, made: tuple[Path, dict[Place, Record]], tmp_path: Path) -> None:
    data = shutil.copytree(made[0], tmp_path / "data", symlinks=True)
    tables = tables_of(run(ground.study({"shards": 2, "atlas.neurons": "none"}), data))
    assert {name: table.height for name, table in tables.items()} == dict.fromkeys(ATLAS, 0)


def test_other_examples_remake_the_atlas_and_nothing_before_it(
    ground: Ground, made: tuple[Path, dict[Place, Record]], tmp_path: Path
) -> None:
    data = shutil.copytree(made[0], tmp_path / "data", symlinks=True)
    study = ground.study({"shards": 2, "atlas.examples": 2})
    freshness = Freshness(study, Store(data))
    shards_of: dict[bool, Sequence[str | None]] = {True: study.shard_names, False: [None]}
    stale = {name for name in NEEDED for shard in shards_of[STAGES[name].is_sharded] if not freshness.fresh(name, shard)}
    assert stale == {"atlas"}
    fewer, all_kept = tables_of(run(study, data))["atlas_examples"], tables_of(made[1])["atlas_examples"]
    is_extreme = pl.col("side").is_in(["top", "bottom"])
    assert fewer.filter(is_extreme).equals(all_kept.filter(is_extreme & (pl.col("rank") <= 2)))


def test_an_atlas_of_the_studied_neurons_holds_these_as_the_whole_one_does(
    ground: Ground, made: tuple[Path, dict[Place, Record]], tmp_path: Path
) -> None:
    data = shutil.copytree(made[0], tmp_path / "data", symlinks=True)
    records = run(ground.study({"shards": 2, "atlas.neurons": "studied"}), data)
    studied = read_table(records[Place(NAME, "candidates")].folder, TABLES["candidates"]).select("layer", "neuron").unique()
    assert 0 < studied.height < 48
    whole, some = tables_of(made[1]), tables_of(records)
    for name in set(ATLAS) - {"atlas_texts"}:
        assert some[name].equals(whole[name].join(studied, on=["layer", "neuron"], how="semi", maintain_order="left")), name
    assert some["atlas_histograms"].height == studied.height
    assert (
        Texts.of(some["atlas_texts"])
        .around(some["atlas_examples"])
        .equals(
            Texts.of(whole["atlas_texts"])
            .around(whole["atlas_examples"])
            .join(studied, on=["layer", "neuron"], how="semi", maintain_order="left")
        )
    )
    study = ground.study({"shards": 2, "atlas.neurons": "studied"})
    assert [outcome for outcome in outcomes_of(study, "atlas", labelled(records), study.shard_names) if not outcome.passed] == []
