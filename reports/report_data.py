"""Everything that the report site is made from, in memory: the study, its published tables, where they came from and what was run.

Holds the record that the pages read, and the orders that many pages need, made once. Reads no file: reports/asset.py fills it.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from assets.contracts import TABLES
from assets.counting.histograms import TOP_PREDICTION
from assets.stages import CORPUS_TABLES
from assets.study import Prompt, Study

_PAIR = ("token_id", "layer", "neuron")
_ENDS = ("contribution_low", "contribution_high")
_OF_CURVE = ("highest_proportion", "highest_proportion_at", "half_activation", "recall_beyond_half")


@dataclass(frozen=True)
class ReportData:
    """The input of a whole site. Equal values give the same bytes.

    `tables` holds frames under their contract names (assets.contracts.TABLES without CORPUS_TABLES); an absent one counts as empty.
    `provenance` has one mapping per published output: asset, fingerprint, code_version, created_at (ISO 8601), seconds, bytes and,
    if known, inputs (name -> content hash, or names) and files (name -> bytes). `facts` may hold: model, revision, commit, architecture, layers, neurons (per
    layer), vocabulary, is_gated, normalization, dtype, device, corpus, corpus_commit, documents, empty_documents,
    duplicate_documents, context_length, windows, positions, shards, seconds and bytes (of all outputs), counting_seconds (of the one
    pass), positions_per_second, finished_at (ISO 8601), version, torch, transformer_lens. One that is absent or None is left out.
    `refused` says of an asset whose tables are empty, because what they hold means nothing of this model, why.
    """

    study: Study
    tables: Mapping[str, pl.DataFrame]
    provenance: Sequence[Mapping[str, Any]] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)

    def table(self, name: str) -> pl.DataFrame:
        """The table, or an empty one with the contract's columns. Raises KeyError for a name without a contract."""
        contract = TABLES[name]
        return self.tables[name] if name in self.tables else pl.DataFrame(schema=contract.schema)

    @property
    def table_names(self) -> list[str]:
        """The tables at hand, in the contracts' order."""
        return [name for name in TABLES if name in self.tables and name not in CORPUS_TABLES]

    @functools.cached_property
    def tracked(self) -> list[tuple[int, str]]:
        """(token id, text) of the tracked tokens, in the study's order, and (number, name) of the groups of them."""
        tokens = self.table("tracked_tokens").sort("row").select("token_id", "token")
        return [*tokens.iter_rows(), *((group, name) for group, name in self._groups)]

    @functools.cached_property
    def _groups(self) -> list[tuple[int, str]]:
        return list(self.table("token_groups").select("token_id", "token").unique(maintain_order=True).iter_rows())

    def members(self, token_id: int) -> list[tuple[int, str]]:
        """(token id, text) of the members of a group; none of a token."""
        return list(self.table("token_groups").filter(pl.col("token_id") == token_id).select("member_id", "member").iter_rows())

    @functools.cached_property
    def studied(self) -> list[tuple[int, int]]:
        """(layer, neuron) of the neurons that have a page: those with curves and the neurons of interest, in ascending order."""
        with_curves = set(self.table("proportion_curves").select("layer", "neuron").unique().iter_rows())
        return sorted(with_curves | {(choice.layer, choice.neuron) for choice in self.study.neurons})

    @functools.cached_property
    def of_interest(self) -> set[tuple[int, int]]:
        """(layer, neuron) that the study names."""
        return {(choice.layer, choice.neuron) for choice in self.study.neurons}

    @functools.cached_property
    def prompts(self) -> list[str]:
        """Names of the prompts that were run, in the study's order."""
        run = set(self.table("prompt_tokens")["prompt"].to_list())
        return [prompt.name for prompt in self.study.prompts if prompt.name in run]

    @functools.cached_property
    def prompt_sets(self) -> list[str]:
        """Names of the prompt sets that were patched, in the study's order."""
        patched = set(self.table("prompt_sets")["prompt_set"].to_list())
        return [one.name for one in self.study.prompt_sets if one.name in patched]

    @functools.cached_property
    def leading(self) -> dict[int, str]:
        """The outcome that leads for each tracked token; top_prediction where none is told."""
        led = dict(self.table("token_outcomes").filter("leads").select("token_id", "outcome").iter_rows())
        return {token_id: led.get(token_id, TOP_PREDICTION) for token_id, _ in self.tracked}

    @functools.cached_property
    def halves(self) -> pl.DataFrame:
        """half_scores, of each token by the outcome that leads for it."""
        return self.table("half_scores").filter(pl.col("outcome") == self._leads)

    @property
    def _leads(self) -> pl.Expr:
        others = {token_id: outcome for token_id, outcome in self.leading.items() if outcome != TOP_PREDICTION}
        return pl.col("token_id").replace_strict(others, default=TOP_PREDICTION, return_dtype=pl.String)

    @functools.cached_property
    def scores(self) -> pl.DataFrame:
        """token_neuron_scores, of each token by the outcome that leads for it, with the column `outcome`.

        What is told is what the telling half shows, in the direction that the discovery half found: auroc, direction, separation with
        separation_low and separation_high, average_precision, and what is read off its curve. `discovery_separation` is by what neurons were
        found. Where a half has too little to score, all of these are the whole corpus'.
        """
        whole = self._of_leading("token_neuron_scores", "outcome_scores")
        told = pl.col("telling_auroc").is_not_null() & pl.col("discovery_auroc").is_not_null()
        halves = self.halves.drop("outcome", "token").rename({"direction": "discovery_direction"})
        joined = whole.join(halves, on=_PAIR, how="left", maintain_order="left")
        half = {
            "auroc": "telling_auroc",
            "direction": "discovery_direction",
            "separation": "telling_separation",
            "average_precision": "telling_average_precision",
            **{name: f"telling_{name}" for name in _OF_CURVE},
        }
        return joined.with_columns(
            *(pl.when(told).then(pl.col(own)).otherwise(pl.col(name)).alias(name) for name, own in half.items()),
            discovery_separation=pl.when(told).then("discovery_separation").otherwise("separation"),
            separation_low=pl.when(told).then("telling_separation_low"),
            separation_high=pl.when(told).then("telling_separation_high"),
            auroc_standard_error=pl.when(told.not_()).then("auroc_standard_error"),
            is_halved=told,
        ).select(*whole.columns, "discovery_separation", "separation_low", "separation_high", "is_halved")

    def _of_leading(self, published: str, further: str) -> pl.DataFrame:
        frames = [self.table(published).with_columns(outcome=pl.lit(TOP_PREDICTION)), self.table(further)]
        both = pl.concat([frame.select(*self.table(published).columns, "outcome") for frame in frames])
        return both.filter(pl.col("outcome") == self._leads)

    @functools.cached_property
    def ranked_scores(self) -> pl.DataFrame:
        """The scores without missing AUROC, best separation in the discovery half first within each token, with `place` (1 is best; ties to
        the lower neuron)."""
        known = self.scores.filter(pl.col("separation").is_not_null())
        ordered = known.sort("token_id", "discovery_separation", "layer", "neuron", descending=[False, True, False, False])
        return ordered.with_columns(place=pl.int_range(1, pl.len() + 1).over("token_id"))

    @functools.cached_property
    def ranked_contributions(self) -> pl.DataFrame:
        """contributions, of each token by the outcome that leads for it, largest in the discovery half first, with `place` (1 is largest;
        ties to the lower neuron).

        `contribution`, with its ends contribution_low and contribution_high, is what the telling half shows; `discovery_contribution` by
        what neurons were found. Where a half has no contribution, both are the whole corpus'.
        """
        whole = self._of_leading("contributions", "outcome_contributions")
        columns = [name for name in whole.columns if name not in _ENDS]
        told = pl.col("telling_contribution").is_not_null() & pl.col("discovery_contribution").is_not_null()
        halves = self.halves.select(*_PAIR, "discovery_contribution", "telling_contribution", *(f"telling_{end}" for end in _ENDS))
        known = whole.select(columns).join(halves, on=_PAIR, how="left", maintain_order="left").with_columns(
            contribution=pl.when(told).then("telling_contribution").otherwise("contribution"),
            discovery_contribution=pl.when(told).then("discovery_contribution").otherwise("contribution"),
            **{end: pl.when(told).then(f"telling_{end}") for end in _ENDS},
        ).select(*columns, "discovery_contribution", *_ENDS)  # fmt: skip
        ordered = known.sort("token_id", "discovery_contribution", "layer", "neuron", descending=[False, True, False, False])
        return ordered.with_columns(place=pl.int_range(1, pl.len() + 1).over("token_id"))

    @functools.cached_property
    def ranked_patching(self) -> pl.DataFrame:
        """neuron_patching, largest improvement first within each prompt and way of patching, with `rank` (ties share) and `of`."""
        over = ["prompt", "positions"]
        ranked = self.table("neuron_patching").with_columns(
            rank=pl.col("improvement").rank("min", descending=True).over(over).cast(pl.Int64), of=pl.len().over(over).cast(pl.Int64)
        )
        return ranked.sort(*over, "rank", "layer", "neuron")

    @functools.cached_property
    def ranked_over_sets(self) -> pl.DataFrame:
        """prompt_set_patching, largest median first within each set, with `rank` (ties share, the lower neuron first) and `of`."""
        ranked = self.table("prompt_set_patching").with_columns(
            rank=pl.col("median").rank("min", descending=True).over("prompt_set").cast(pl.Int64),
            of=pl.len().over("prompt_set").cast(pl.Int64),
        )
        return ranked.sort("prompt_set", "rank", "layer", "neuron")

    @property
    def has_atlas(self) -> bool:
        """Whether the study has a page for every neuron."""
        return not self.table("atlas_histograms").is_empty()

    @functools.cached_property
    def atlas_shape(self) -> tuple[int, int]:
        """Layers, and neurons in a layer, of the model; (0, 0) without an atlas."""
        if not self.has_atlas:
            return 0, 0
        every = (self.table(name).select("layer", "neuron") for name in ("atlas_histograms", "neuron_statistics"))
        return pl.concat(every).select(pl.all().max() + 1).row(0)

    @functools.cached_property
    def neurons_of_atlas(self) -> list[tuple[int, int]] | None:
        """(layer, neuron) of those that have a page in the atlas, ascending; None where every neuron has."""
        held = self.table("atlas_histograms").select("layer", "neuron").sort("layer", "neuron").rows()
        layers, neurons = self.atlas_shape
        return held if len(held) < layers * neurons else None

    def prompt(self, name: str) -> Prompt:
        """The prompt as the study gives it. Raises KeyError for a name that the study does not have."""
        by_name = {prompt.name: prompt for prompt in self.study.prompts}
        return by_name[name]
