"""What must hold of the tables of `across_models`: their contracts, and that what they say of ranks and agreement is true of the rows.

Judged like every other output (expectations). The check reads only the published tables, so it also finds a later change to them.
"""

from collections.abc import Mapping, Sequence

import polars as pl

from assets.across_models.across_models import COMPARED, MEASURES
from assets.contracts import ACROSS_MODELS_TABLES
from assets.quality.expectations import Outcome, judge
from assets.quality.suites import contract_check, none_of, table_quality

ASSET = "across_models"
ACROSS_MODELS_VALUES = "across_models_values"
CHECKS = (*(contract_check(table) for table in ACROSS_MODELS_TABLES.values()), ACROSS_MODELS_VALUES)  # all of them blocking


def across_models_quality(tables: Mapping[str, pl.DataFrame], studies: Sequence[str]) -> list[Outcome]:
    """Every outcome for the three tables by contract name; `studies` are the names that must be accounted for."""
    outcomes = [outcome for name, table in ACROSS_MODELS_TABLES.items() for outcome in table_quality(table, tables[name])]
    return outcomes + _accounted(tables, studies) + _ranked(tables) + _agreed(tables)


def _accounted(tables: Mapping[str, pl.DataFrame], studies: Sequence[str]) -> list[Outcome]:
    shown, tokens = tables["across_models_studies"], tables["across_models_tokens"]
    compared = shown.filter(pl.col("state") == COMPARED)["study"].to_list()
    silent = shown.filter((pl.col("state") != COMPARED) & (pl.col("reason").fill_null("") == "")).height
    kinds = tokens["token"].n_unique()
    counted = pl.DataFrame(
        {
            "studies": [len(studies)],
            "absent": [len(set(studies) - set(shown["study"].to_list()))],
            "silent": [silent],
            "cells": [kinds * len(compared)],
            "unfilled": [kinds * len(compared) - tokens.filter(pl.col("study").is_in(compared)).select("study", "token").n_unique()],
        }
    )
    return judge(
        ASSET,
        ACROSS_MODELS_VALUES,
        counted,
        [
            none_of("every study of the deployment is listed", "absent", "studies absent", of="studies"),
            none_of("every study that is not compared says why", "silent", "studies without a reason", of="studies"),
            none_of("every compared study says something of every token", "unfilled", "cells missing", of="cells"),
        ],
    )


def _ranked(tables: Mapping[str, pl.DataFrame]) -> list[Outcome]:
    """One row per study and token: neurons whose place contradicts their value, or lies outside what it can be."""
    frame = tables["across_models_neurons"]
    pairs = [(measure, f"{measure}_rank", True) for measure in MEASURES] + [("ablation_effect", "ablation_rank", False)]
    over = ["study", "token_id"]
    torn = pl.any_horizontal((pl.col(value).is_null() != pl.col(rank).is_null()) for value, rank, _ in pairs)
    turned = pl.any_horizontal(
        (pl.col(rank).rank("dense") != pl.col(value).rank("dense", descending=descends)).over(over).fill_null(False)
        for value, rank, descends in pairs
    )
    outside = ~pl.col("auroc").is_between(0, 1).fill_null(True) | ~pl.col("ablation_p_value").is_between(0, 1).fill_null(True)
    by_token = frame.group_by(over, maintain_order=True).agg(neurons=pl.len().cast(pl.Int64))
    wrong = frame.select(*over, torn=torn, turned=turned, outside=outside).group_by(over, maintain_order=True)
    counted = by_token.join(wrong.agg(pl.col("torn", "turned", "outside").sum().cast(pl.Int64)), on=over, maintain_order="left")
    return judge(
        ASSET,
        ACROSS_MODELS_VALUES,
        counted,
        [
            none_of("a neuron has a place exactly where it has a value", "torn", "neurons torn", of="neurons", by=tuple(over)),
            none_of("a better value never has a worse place", "turned", "neurons out of order", of="neurons", by=tuple(over)),
            none_of("AUROC and p-values lie between 0 and 1", "outside", "neurons outside", of="neurons", by=tuple(over)),
        ],
    )


def _agreed(tables: Mapping[str, pl.DataFrame]) -> list[Outcome]:
    """The agreeing neuron, looked up among the neurons: first by as many measures as are said to agree on it."""
    key = ["study", "token_id", "layer", "neuron"]
    firsts = pl.sum_horizontal(
        ((pl.col(f"{name}_rank") == 1) & (pl.col(name) > least)).fill_null(False).cast(pl.Int32) for name, least in MEASURES.items()
    )
    neurons = tables["across_models_neurons"].select(*key, firsts=firsts)
    said = tables["across_models_tokens"].filter(pl.col("neuron").is_not_null()).select(*key, "agreeing", "measures")
    looked_up = said.join(neurons, on=key, how="left", maintain_order="left")
    wrong = (pl.col("firsts").fill_null(-1) != pl.col("agreeing")) | (pl.col("agreeing") > pl.col("measures"))
    counted = looked_up.select(agreements=pl.len().cast(pl.Int64), wrong=wrong.sum().cast(pl.Int64))
    sentence = "where measures agree on a neuron, it is first by exactly that many of them"
    return judge(ASSET, ACROSS_MODELS_VALUES, counted, [none_of(sentence, "wrong", "agreements wrong", of="agreements")])
