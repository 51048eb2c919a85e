"""The table `evidence_cards`: of each studied pair of token and neuron, every line of evidence with its verdict and its number.

Every number is another table's; here is only the rule that turns it into supported, against, unclear or not measured. Each line is a
function from the pairs and a table to one row a pair at most; a pair without one was not measured. Which numbers a line rests on, and how
it can mislead, is in docs/evidence.md.
"""

from collections.abc import Mapping

import polars as pl

from assets.ablation.ablated_positions import OWN_POSITIONS
from assets.ablation.replacements import TOLD_ABLATION
from assets.ablation.settled_pairs import TOLD_MEASURE
from assets.contracts import EVIDENCE_CARDS, conform
from assets.counting.histograms import NEXT_TOKEN, TOP_PREDICTION
from assets.evidence_cards.evidence_lines import (
    AGAINST,
    ALONE,
    ALONE_FROM,
    BEYOND_LUCK,
    EVERY_DOMAIN,
    GOES_ALONG,
    HARDLY,
    LINE_NAMES,
    MOSTLY,
    NOT_MEASURED,
    NOTHING_ELSE,
    ON_PROMPTS,
    OTHER_HALF,
    OVER_THE_CORPUS,
    SHARE_KEPT,
    SMALLEST_RESTORED,
    STANDS_OUT,
    SUPPORTED,
    UNCLEAR,
    WITH_OTHERS_BELOW,
    WRITES,
)
from assets.statistics.luck import DISCOVERY_RATE

PAIR = ("token_id", "layer", "neuron")
_MEASURED = ("value", "low", "high", "verdict", "detail")
COMPARED_SIZE = 8  # neurons of the probe that a single one is held against
OUTERMOST = 1  # the band of highest, or lowest, activations
NAMED_OTHERS = 3  # tokens named beside the pair's own


def evidence_cards(pairs: pl.DataFrame, tables: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """One row for each pair and line of LINE_NAMES.

    pairs: token_id, token, layer, neuron and outcome, the one that leads for the token. tables: under their contract names half_scores,
    neuron_ablation, domain_scores, domain_tests, sparse_probes, neuron_bands, neuron_band_tokens, and `patched`: neuron_patching with the token_id of each
    prompt's answer.
    """
    halves = pairs.join(tables["half_scores"].drop("token"), on=[*PAIR, "outcome"])
    measured = {
        WRITES: _writes(halves),
        GOES_ALONG: _goes_along(halves),
        ON_PROMPTS: _on_prompts(pairs, tables["patched"]),
        OVER_THE_CORPUS: _over_the_corpus(pairs, tables["neuron_ablation"]),
        OTHER_HALF: _other_half(halves),
        BEYOND_LUCK: _beyond_luck(halves),
        ALONE: _alone(halves, tables["sparse_probes"]),
        EVERY_DOMAIN: _every_domain(pairs, tables["domain_scores"], tables["domain_tests"]),
        NOTHING_ELSE: _nothing_else(halves, tables["neuron_bands"], tables["neuron_band_tokens"]),
    }
    rows = [
        pairs.join(measured[line].select(*PAIR, *_MEASURED), on=PAIR, how="left", maintain_order="left").with_columns(
            line=pl.lit(line), place=pl.lit(place)
        )
        for place, line in enumerate(LINE_NAMES)
    ]
    order = pairs.with_row_index("pair").select(*PAIR, "pair")
    cards = pl.concat(rows).join(order, on=PAIR).sort("pair", "place")
    filled = cards.with_columns(pl.col("verdict").fill_null(NOT_MEASURED), pl.col("detail").fill_null(""))
    return conform(EVIDENCE_CARDS, filled.select(EVIDENCE_CARDS.schema.names()))


def _beside(low: pl.Expr, high: pl.Expr, middle: float) -> pl.Expr:
    """Supported where the interval lies above the middle, against where it lies below; unclear where it holds it, or is missing."""
    return pl.when(low > middle).then(pl.lit(SUPPORTED)).when(high < middle).then(pl.lit(AGAINST)).otherwise(pl.lit(UNCLEAR))


def _writes(halves: pl.DataFrame) -> pl.DataFrame:
    low, high = pl.col("telling_contribution_low"), pl.col("telling_contribution_high")
    return halves.drop_nulls("telling_contribution").with_columns(
        value="telling_contribution", low=low, high=high, verdict=_beside(low, high, 0.0), detail=pl.lit("")
    )


def _goes_along(halves: pl.DataFrame) -> pl.DataFrame:
    low, high = pl.col("telling_separation_low"), pl.col("telling_separation_high")
    downwards = pl.when(pl.col("direction") == -1).then(pl.lit("read downwards")).otherwise(pl.lit(""))
    return halves.drop_nulls("telling_separation").with_columns(
        value="telling_separation", low=low, high=high, verdict=_beside(low, high, 0.5), detail=downwards
    )


def _on_prompts(pairs: pl.DataFrame, patched: pl.DataFrame) -> pl.DataFrame:
    """Of the prompts whose answer is the token, the one on which patching the neuron restores most."""
    own = patched.filter(pl.col("positions") == "last").join(pairs.select(PAIR), on=PAIR, how="semi")
    most = own.sort("improvement", "prompt", descending=[True, False]).unique(PAIR, keep="first", maintain_order=True)
    restored = pl.col("improvement").cast(pl.Float64)
    return most.with_columns(
        value=restored,
        low=pl.lit(None, pl.Float64),
        high=pl.lit(None, pl.Float64),
        verdict=pl.when(restored >= SMALLEST_RESTORED).then(pl.lit(SUPPORTED)).otherwise(pl.lit(AGAINST)),
        detail=pl.col("prompt"),
    )


def _over_the_corpus(pairs: pl.DataFrame, ablation: pl.DataFrame) -> pl.DataFrame:
    """The log-probability with the activation replaced by its mean, at the token's own positions."""
    is_told = (
        (pl.col("ablation") == TOLD_ABLATION)
        & (pl.col("measure") == TOLD_MEASURE)
        & pl.col("positions").is_in(list(OWN_POSITIONS.values()))
    )
    own = ablation.filter(is_told).join(pairs.select(PAIR), on=PAIR, how="semi")
    stands_out = (pl.col("p_value") <= STANDS_OUT) & (pl.col("q_value") <= STANDS_OUT)
    told, compared = pl.col("effect"), pl.col("compared_effect")  # p is about the second, over fewer positions: both must say the same
    verdict = (
        pl.when(stands_out & (told < 0) & (compared < 0))
        .then(pl.lit(SUPPORTED))
        .when(stands_out & (told > 0) & (compared > 0))
        .then(pl.lit(AGAINST))
        .otherwise(pl.lit(UNCLEAR))
    )
    chance = pl.format("p = {}, q = {}", _short("p_value"), _short("q_value"))
    return own.with_columns(value="effect", low="ci_low", high="ci_high", verdict=verdict, detail=chance)


def _other_half(halves: pl.DataFrame) -> pl.DataFrame:
    """By contribution where that is known, else by what separation is beyond one half."""
    by_contribution = pl.col("discovery_contribution").is_not_null() & pl.col("telling_contribution").is_not_null()

    def of(contribution: str, separation: str) -> pl.Expr:
        return pl.when(by_contribution).then(contribution).otherwise(pl.col(separation) - 0.5)

    found = halves.with_columns(
        discovery=of("discovery_contribution", "discovery_separation"),
        told=of("telling_contribution", "telling_separation"),
        told_low=of("telling_contribution_low", "telling_separation_low"),
        told_high=of("telling_contribution_high", "telling_separation_high"),
    ).filter(pl.col("discovery").is_not_null() & (pl.col("discovery") != 0) & pl.col("told").is_not_null())
    share = pl.col("told") / pl.col("discovery")
    is_beyond = pl.when(pl.col("discovery") > 0).then(pl.col("told_low") > 0).otherwise(pl.col("told_high") < 0)
    verdict = (
        pl.when(is_beyond & (share >= SHARE_KEPT))
        .then(pl.lit(SUPPORTED))
        .when(is_beyond.not_() & (share < SHARE_KEPT))
        .then(pl.lit(AGAINST))
        .otherwise(pl.lit(UNCLEAR))
    )
    measure = pl.when(by_contribution).then(pl.lit("contribution")).otherwise(pl.lit("separation"))
    ends = [pl.col(end) / pl.col("discovery") for end in ("told_low", "told_high")]
    return found.with_columns(value=share, low=pl.min_horizontal(*ends), high=pl.max_horizontal(*ends), verdict=verdict, detail=measure)


def _beyond_luck(halves: pl.DataFrame) -> pl.DataFrame:
    """By contribution where that is known, else by separation: one of the two, so that nothing is looked at twice."""
    by_contribution = pl.col("contribution_q").is_not_null()
    rate = pl.coalesce("contribution_q", "separation_q")
    verdict = pl.when(rate <= DISCOVERY_RATE).then(pl.lit(SUPPORTED)).otherwise(pl.lit(AGAINST))
    measure = pl.when(by_contribution).then(pl.lit("contribution")).otherwise(pl.lit("separation"))
    chance = pl.format("{}, p = {}", measure, _short(pl.coalesce("contribution_p", "separation_p")))
    return halves.filter(rate.is_not_null()).with_columns(
        value=rate, low=pl.lit(None, pl.Float64), high=pl.lit(None, pl.Float64), verdict=verdict, detail=chance
    )


def _short(value: str | pl.Expr) -> pl.Expr:
    """Two significant digits."""
    return (pl.col(value) if isinstance(value, str) else value).round_sig_figs(2)


def _alone(halves: pl.DataFrame, probes: pl.DataFrame) -> pl.DataFrame:
    """The neuron's own average precision over that of the sparse probe of COMPARED_SIZE neurons; never above 1."""
    together = probes.filter((pl.col("kind") == "neurons") & (pl.col("size") == COMPARED_SIZE))
    compared = halves.join(together.select("token_id", "outcome", together="average_precision"), on=["token_id", "outcome"])
    found = compared.filter(pl.col("telling_average_precision").is_not_null() & (pl.col("together") > 0))
    share = (pl.col("telling_average_precision") / pl.col("together")).clip(upper_bound=1.0)
    verdict = (
        pl.when(share >= ALONE_FROM)
        .then(pl.lit(SUPPORTED))
        .when(share < WITH_OTHERS_BELOW)
        .then(pl.lit(AGAINST))
        .otherwise(pl.lit(UNCLEAR))
    )
    of = pl.format("{} of the {} that eight neurons reach", _short("telling_average_precision"), _short("together"))
    return found.with_columns(value=share, low=pl.lit(None, pl.Float64), high=pl.lit(None, pl.Float64), verdict=verdict, detail=of)


def _every_domain(pairs: pl.DataFrame, scores: pl.DataFrame, tests: pl.DataFrame) -> pl.DataFrame:
    """In how many of the domains the neuron goes along with the token in its direction over all; a domain that has no interval tells nothing."""
    own = scores.join(pairs.select(*PAIR, "outcome"), on=[*PAIR, "outcome"]).drop_nulls(["auroc_low", "auroc_high"])
    over_all = pl.col("auroc").median().over(PAIR) >= 0.5
    beyond = pl.when(over_all).then(pl.col("auroc_low") > 0.5).otherwise(pl.col("auroc_high") < 0.5)
    other_side = pl.when(over_all).then(pl.col("auroc_high") < 0.5).otherwise(pl.col("auroc_low") > 0.5)
    counted = (
        own.with_columns(beyond=beyond, other_side=other_side)
        .group_by(PAIR, maintain_order=True)
        .agg(
            domains=pl.len(),
            along=pl.col("beyond").sum(),
            turned=pl.col("other_side").any(),
            others=pl.col("name").filter(pl.col("beyond").not_()).sort().str.join(", "),
        )
        .filter(pl.col("domains") > 1)
    )
    differing = tests.filter(pl.col("measure") == "auroc").join(pairs.select(*PAIR, "outcome"), on=[*PAIR, "outcome"])
    found = counted.join(differing.select(*PAIR, "p_value"), on=PAIR, how="left")
    everywhere = pl.col("along") == pl.col("domains")
    is_against = pl.col("turned") | ((pl.col("p_value") <= STANDS_OUT) & everywhere.not_())
    verdict = pl.when(is_against).then(pl.lit(AGAINST)).when(everywhere).then(pl.lit(SUPPORTED)).otherwise(pl.lit(UNCLEAR))
    named = pl.when(everywhere).then(pl.lit("")).otherwise(pl.format("not in {}; ", "others"))
    chance = pl.format("that domains do not differ: p = {}", _short("p_value")).fill_null("")
    return found.with_columns(
        value=(pl.col("along") / pl.col("domains")),
        low=pl.lit(None, pl.Float64),
        high=pl.lit(None, pl.Float64),
        verdict=verdict,
        detail=named + chance,
    )


def _nothing_else(halves: pl.DataFrame, bands: pl.DataFrame, tokens: pl.DataFrame) -> pl.DataFrame:
    """Of the outermost band at the token's end of the neuron, the share that has the token, and the tokens that are there beside it."""
    counted = pl.when(pl.col("outcome") == TOP_PREDICTION).then(pl.lit(TOP_PREDICTION)).otherwise(pl.lit(NEXT_TOKEN))
    end = pl.when(pl.col("direction") == -1).then(pl.lit("low")).otherwise(pl.lit("high"))
    asked = halves.drop_nulls("direction").select(*PAIR, outcome=counted, end=end)
    there = tokens.filter(pl.col("band") == OUTERMOST).rename({"token_id": "found_id", "token": "found"})
    found = asked.join(there, on=["layer", "neuron", "end", "outcome"])
    others = (
        found.filter((pl.col("found_id") != pl.col("token_id")) & pl.col("rank").is_not_null())
        .sort("rank")
        .group_by(PAIR, maintain_order=True)
        .agg(others=pl.format("{} {} %", pl.col("found"), (pl.col("share") * 100).round().cast(pl.Int64)).head(NAMED_OTHERS).str.join(", "))
    )
    own = found.filter(pl.col("found_id") == pl.col("token_id")).join(others, on=PAIR, how="left")
    told = own.join(
        bands.filter(pl.col("band") == OUTERMOST).select("layer", "neuron", "end", of="positions"), on=["layer", "neuron", "end"]
    )
    share = pl.col("share")
    verdict = pl.when(share >= MOSTLY).then(pl.lit(SUPPORTED)).when(share < HARDLY).then(pl.lit(AGAINST)).otherwise(pl.lit(UNCLEAR))
    beside = pl.format("of {} positions; beside it {}", "of", pl.col("others").fill_null("nothing"))
    return told.with_columns(value=share, low=pl.lit(None, pl.Float64), high=pl.lit(None, pl.Float64), verdict=verdict, detail=beside)
