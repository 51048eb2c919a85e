"""Dagster assets of the ablation stage: studied neurons ablated over the corpus, against controls, and on the prompts."""

from collections.abc import Callable
from functools import partial

import dagster as dg
import polars as pl

from assets.ablation.ablated_positions import of_telling_half
from assets.ablation.donors import Donors, Neurons, donors
from assets.ablation.neuron_ablation import neuron_ablation
from assets.ablation.prompt_ablation import prompt_ablation
from assets.contracts import TABLES
from assets.counting.position_samples import NEXT_TOKEN, TOP_PREDICTION, sampled_positions
from assets.histograms.histogram_store import read_histograms
from assets.model.language_model import LanguageModel
from assets.model.loading import model_of
from assets.progress import Progress
from assets.prompts.prompts import encode_prompts
from assets.study import Study
from assets.wiring import study_asset
from assets.work import Work


def ablation_assets(study: Study) -> list[dg.AssetsDefinition]:
    """The study's assets of this stage."""
    return [
        study_asset(study, "neuron_ablation", _neuron_ablation, page="index.html"),
        study_asset(study, "prompt_ablation", _prompt_ablation, page="index.html"),
    ]


def _neuron_ablation(work: Work) -> None:
    study, model = work.study, model_of(work)
    # A group has no probability of its own to lose: its members are ablated.
    entries = work.read("tracked_tokens").select("token_id")
    pairs = work.read("proportion_curves").select("token_id", "layer", "neuron").unique().join(entries, on="token_id", how="semi")
    counted = read_histograms(work.files("merged_histograms"))
    made = neuron_ablation(
        model,
        _every_shard(work, "token_windows"),
        _every_shard(work, "position_predictions"),
        of_telling_half(sampled_positions(counted.tensors, counted.token_ids)),
        pairs,
        work.read("neuron_statistics"),
        study.ablation_positions,
        _donors(work, model),
        outcome_of_token=_outcomes(work.read("token_outcomes")),
        progress=Progress(work.tell, "neuron ablation", "positions through a block"),
    )
    work.write("neuron_ablation", made.effects)
    work.write("ablation_controls", made.controls)


def _outcomes(token_outcomes: pl.DataFrame) -> dict[int, str]:
    """By which outcome each token's positions are taken: the one that leads; for probability, which has no positions, the next token."""
    leading = token_outcomes.filter("leads").select("token_id", "outcome")
    return {entry: TOP_PREDICTION if outcome == TOP_PREDICTION else NEXT_TOKEN for entry, outcome in leading.iter_rows()}


def _prompt_ablation(work: Work) -> None:
    model, statistics = model_of(work), work.read("neuron_statistics")
    studied = work.read("proportion_curves").group_by("layer").agg(pl.col("neuron").unique().sort()).sort("layer")
    neurons = {row["layer"]: row["neuron"] for row in studied.iter_rows(named=True)}
    tokens = work.read("tracked_tokens").sort("row")["token_id"].to_list()
    prompts, drawn = encode_prompts(model, work.study.prompts), _donors(work, model)(neurons)
    progress = Progress(work.tell, "prompt ablation", "tokens of prompts")
    work.write("prompt_ablation", prompt_ablation(model, prompts, tokens, neurons, statistics, drawn, progress))


def _donors(work: Work, model: LanguageModel) -> Callable[[Neurons], Donors]:
    """Gives donors of neurons."""
    counted, windows = read_histograms(work.files("merged_histograms")), _every_shard(work, "token_windows")
    return partial(donors, model, counted, windows, work.study.batch_positions)


def _every_shard(work: Work, table: str) -> pl.LazyFrame:
    return pl.concat([work.scan(table, shard) for shard in work.shards_of(TABLES[table].asset)])
