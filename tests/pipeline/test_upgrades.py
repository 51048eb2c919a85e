"""Data of earlier versions of the product: read rightly, or refused with the command that rebuilds it, and then rebuilt."""

import tarfile
from pathlib import Path

import dagster as dg
import numpy as np
import polars as pl
import pytest
import zarr
from polars.testing import assert_frame_equal

from assets.counting.histograms import EXAMPLE_PARTS
from assets.freshness import Freshness
from assets.publication import materialize
from assets.stages import STAGES
from assets.store import RECORD, Place, Store, StoreError
from assets.study import Study, read_study
from orchestration.run import faults_of, run_study
from orchestration.settings import Settings
from tests.planted import PREDICTIONS_OF_A, PREDICTIONS_OF_AN

RENAMED = {"attribution_screen": "attribution_patching"}  # tables whose names have changed since
# Tables that hold other rows or columns than then (a sentence, a control's norms, a head, the published negation, text beside text).
MORE_SINCE = {
    "data_quality",
    "neuron_ablation",
    "activation_patching",
    "ablation_controls",
    "model_parity",
    "prompt_ablation",
    "neuron_contexts",
}
# What else has become of a table's columns since; the others are compared as they were.
GAINED_COLUMNS = {
    "token_neuron_scores": {"direction", "separation", "auroc_low", "auroc_high", "average_precision_low", "average_precision_high"},
    "token_neuron_screen": {"false_discovery_rate"},
    "proportion_curves": {"document_low", "document_high"},
    "congruence_tracked_tokens": {"corrected"},
    "corpus_documents": {"domain", "token_ids"},
    "token_windows": {"domain"},
}
RENAMED_COLUMNS = {"token_neuron_scores": {"recall_above_half": "recall_beyond_half"}}
# Columns that are now read from the other end where the condition holds: compared everywhere else.
READ_OTHERWISE = {
    "token_neuron_scores": (
        ("average_precision", "highest_proportion_at", "half_activation", "recall_beyond_half"),
        pl.col("direction") == -1,
    )
}
# More neurons are studied than then, each line of evidence sends its own: the rows of those that were studied then are compared.
OF_STUDIED_NEURONS = {"proportion_curves", "embedding_curves", "neuron_inputs", "neuron_residual_reads", "prompt_activations"}
EXAMPLES = {f"{side}_{part}" for side in ("top", "bottom") for part in EXAMPLE_PARTS}
ARCHIVES = sorted((Path(__file__).parents[1] / "old_data").glob("*.tar.xz"))


class OldData:
    """A study with the outputs of an earlier version, unpacked."""

    def __init__(self, archive: Path, folder: Path) -> None:
        with tarfile.open(archive) as packed:
            packed.extractall(folder, filter="data")
        self.settings = Settings(data=folder / "data", studies=folder, site_url="")
        self.study: Study = read_study(folder / "old.yaml")
        self.store: Store = self.settings.deployment.store

    def places(self) -> list[Place]:
        return [Place("old", stage.name, shard) for stage in STAGES.values() for shard in (["0000"] if stage.is_sharded else [None])]

    def fresh(self) -> set[Place]:
        """The outputs that the present code would keep."""
        freshness = Freshness(self.study, self.store)
        return {place for place in self.places() if freshness.fresh(place.asset, place.shard)}

    def frames(self) -> dict[str, pl.DataFrame]:
        """Every table, by what lies in its file."""
        root = self.settings.data / "old"
        return {file.stem: pl.read_parquet(file) for record in root.rglob(RECORD) for file in record.parent.glob("*-????????/*.parquet")}

    def counters(self) -> dict[str, np.ndarray]:
        """Every counter of the merged histograms, by what lies in their folder now. Of positions with equal activations the version
        decided by their last bits which are examples: these are not counts."""
        (folder,) = (self.settings.data / "old" / "merged_histograms").glob("*-????????")
        group = zarr.open_group(str(folder), mode="r")
        arrays = {name: np.asarray(group[name][:]) for name in group.array_keys()}  # type: ignore[index]
        return {name: array for name, array in arrays.items() if array.dtype.kind == "i" and name not in EXAMPLES}


def alike(table: str, now: pl.DataFrame, then: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Both frames with what may differ taken out of both: columns gained, names changed, and rows of columns that are read otherwise."""
    then = then.rename(RENAMED_COLUMNS.get(table, {}))
    gained = GAINED_COLUMNS.get(table, set())
    assert [name for name in now.columns if name not in gained] == then.columns, f"{table}: other columns than then, beside those said"
    assert gained <= set(now.columns), f"{table}: said to have gained {sorted(gained - set(now.columns))}, which it has not"
    if table in READ_OTHERWISE:
        columns, condition = READ_OTHERWISE[table]
        is_compared = now.select(~condition.fill_null(False)).to_series()
        assert is_compared.any(), f"{table}: nothing of {columns} is left to compare"
        now, then = (frame.with_columns(pl.when(is_compared).then(name).alias(name) for name in columns) for frame in (now, then))
    if table in OF_STUDIED_NEURONS:
        pairs = [name for name in ("layer", "neuron", "token_id") if name in then.columns and (name != "token_id" or "curves" in table)]
        now = now.join(then.select(pairs).unique(), on=pairs, how="semi", maintain_order="left")
    return now.select(then.columns), then


def test_a_table_is_compared_in_all_but_what_is_said_to_be_other() -> None:
    then = pl.DataFrame({"token_id": [1, 2], "half_activation": [0.5, 0.5], "recall_above_half": [0.3, 0.4]})
    then = then.with_columns(average_precision=pl.lit(0.1), highest_proportion_at=pl.lit(0.2))
    gained = GAINED_COLUMNS["token_neuron_scores"] - {"direction"}
    now = then.rename({"recall_above_half": "recall_beyond_half"}).with_columns(
        direction=pl.Series([1, -1]), **dict.fromkeys(gained, pl.lit(0.9))
    )
    turned = now.with_columns(half_activation=pl.Series([0.5, -2.0]))
    assert_frame_equal(*alike("token_neuron_scores", turned, then))
    for changed in (now.with_columns(half_activation=pl.lit(-2.0)), turned.with_columns(token_id=pl.Series([1, 3]))):
        with pytest.raises(AssertionError, match="DataFrames are different"):
            assert_frame_equal(*alike("token_neuron_scores", changed, then))
    for columns, sentence in ((now.with_columns(more=1), "other columns than then"), (now.drop("separation"), "said to have gained")):
        with pytest.raises(AssertionError, match=sentence):
            alike("token_neuron_scores", columns, then)
    with pytest.raises(AssertionError, match="nothing of"):
        alike("token_neuron_scores", now.with_columns(direction=-1), then)
    with pytest.raises(AssertionError, match="other columns than then"):
        alike("token_counts", now, then)


@pytest.fixture(params=ARCHIVES, ids=lambda file: file.name)
def old(request: pytest.FixtureRequest, tmp_path: Path) -> OldData:
    return OldData(request.param, tmp_path)


def test_each_output_is_refused_with_the_command_that_rebuilds_it(old: OldData) -> None:
    """Records of this age name neither the fields nor the code behind an output, so whether it is true cannot be known."""
    assert old.fresh() == set()
    for place in old.places():
        with pytest.raises(StoreError, match=r"^old/.*make study STUDY=old"):
            Freshness(old.study, old.store).current(place.asset, place.shard)

    def never(_: object) -> None:
        raise AssertionError("a report was made from data of another version")

    with pytest.raises(StoreError, match=r"^old/.*make study STUDY=old"):
        materialize(old.study, STAGES["report_site"], None, old.settings.deployment, never, print)


@pytest.mark.slow
def test_a_run_rebuilds_everything_with_the_same_numbers(old: OldData) -> None:
    before, counted = old.frames(), old.counters()
    assert {"count", "top_prediction_count", "occurrences", "predictions"} <= counted.keys()
    with dg.DagsterInstance.ephemeral() as instance:
        result = run_study(old.study, old.settings, instance)
    assert result.success, faults_of(result)
    assert old.fresh() == set(old.places())
    after, counts = old.frames(), old.counters()
    assert counts.keys() >= counted.keys()
    for name, tensor in counted.items():
        np.testing.assert_array_equal(counts[name], tensor, err_msg=name)
    for table in sorted(before.keys() - MORE_SINCE):
        now, then = alike(table, after[RENAMED.get(table, table)], before[table])
        # Whole numbers and texts exactly; another processor, or order of the same sums, rounds a model's numbers otherwise.
        assert_frame_equal(now, then, rel_tol=1e-5, abs_tol=1e-6)
    predicted = dict(after["token_counts"].select("token", "predictions").rows())
    assert (predicted[" an"], predicted[" a"]) == (PREDICTIONS_OF_AN, PREDICTIONS_OF_A)
    assert (old.settings.deployment.site_folder("old") / "index.html").is_file()
