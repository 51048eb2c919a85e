"""Dagster asset of the evidence: evidence_cards, read off the tables of every other line."""

import dagster as dg
import polars as pl

from assets.evidence_cards.evidence_cards import evidence_cards
from assets.evidence_cards.evidence_lines import VERDICTS
from assets.study import Study
from assets.wiring import study_asset
from assets.work import Work

_AS_THEY_ARE = ("half_scores", "neuron_ablation", "domain_scores", "domain_tests", "sparse_probes", "neuron_bands", "neuron_band_tokens")


def evidence_assets(study: Study) -> list[dg.AssetsDefinition]:
    """The study's asset of this stage."""
    return [study_asset(study, "evidence_cards", _evidence_cards, page="index.html")]


def _evidence_cards(work: Work) -> None:
    leading = work.read("token_outcomes").filter("leads").select("token_id", "outcome")
    studied = work.read("candidates").select("token_id", "token", "layer", "neuron").unique(maintain_order=True)
    answers = work.read("prompt_predictions").filter(pl.col("role") == "answer").select("prompt", "token_id").unique()
    tables = {name: work.read(name) for name in _AS_THEY_ARE} | {"patched": work.read("neuron_patching").join(answers, on="prompt")}
    cards = evidence_cards(studied.join(leading, on="token_id", maintain_order="left"), tables)
    work.write("evidence_cards", cards)
    verdicts = cards["verdict"].to_list()
    work.show(pairs=studied.height, **{verdict.replace(" ", "_"): verdicts.count(verdict) for verdict in VERDICTS})
