"""What must hold of every output: each suite is a frame of counted violations and the sentences that it must satisfy.

Read it as the list of promises behind the report. A `blocking` sentence that fails stops everything downstream; a `warning` is
shown. The counting stands in `counter_violations` and `table_violations`, the judging in `expectations`.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import polars as pl

from assets.contracts import Table
from assets.counting.histograms import Histograms
from assets.quality import table_violations
from assets.quality.counter_violations import counter_violations
from assets.quality.expectations import Expectation, Outcome, Severity, judge
from assets.quality.screen_violations import screen as table_violations_of_screen
from assets.quality.screen_violations import screen_violations

# Names of the checks, as Dagster and the table data_quality show them.
BIN_COUNTS = "bin_counts"
MERGE = "merge"
PARITY = "hugging_face_parity"
DOCUMENTS = "documents"
CURVE_VALUES = "curve_values"
EMBEDDING_VALUES = "embedding_values"
NEURON_ACTIVITY = "neuron_activity"
SCORE_VALUES = "score_values"
ABLATION_VALUES = "ablation_values"
PATCHING_VALUES = "patching_values"
CONTEXT_VALUES = "context_values"
SCREEN = "screen"
SCREEN_VALUES = "screen_values"

# What each promises, as the page of the check says it.
PROMISES = {
    BIN_COUNTS: "For every neuron and every tracked token, the counts add up to the positions that were counted.",
    MERGE: "Every shard is in the sum, once.",
    PARITY: "The model as it is run here predicts what plain Hugging Face code predicts.",
    DOCUMENTS: "There is text to read, and it does not repeat itself.",
    CURVE_VALUES: "Every plotted share is the quotient of its counts, and most bins hold enough positions.",
    EMBEDDING_VALUES: "Curves of the top predictions by the embedding add up to the positions that were counted.",
    NEURON_ACTIVITY: "Neurons are active somewhere, and their statistics are numbers.",
    SCORE_VALUES: "Scores lie where they can, and every tracked token is predicted somewhere.",
    ABLATION_VALUES: "Effects add up and lie where they can, and controls are what they say.",
    PATCHING_VALUES: "Every component was patched at every layer and position, and every effect is a number.",
    CONTEXT_VALUES: "Every context holds its place, with the activation that it was chosen or drawn with.",
    SCREEN: "Sums by predicted token add up to the positions that were counted.",
    SCREEN_VALUES: "The neurons that stand out are ranked by numbers that can be, and few positions are left out.",
}

_CURVE = ("layer", "neuron", "token_id")
LARGEST_OVERFLOW_SHARE = 0.001
LARGEST_UNRELIABLE_SHARE = 0.5
LARGEST_LEFT_OUT_SHARE = 0.1
# Largest logit difference over largest logit. The two programs sum in different orders, so they differ by a few roundings: one
# is 6e-8 in float32, 5e-4 in float16 and 4e-3 in bfloat16, and they add up over the layers.
PARITY_TOLERANCE = {"float32": 1e-4, "float16": 1e-2, "bfloat16": 5e-2}


def contract_check(table: Table) -> str:
    """Name of the check that compares a table with its contract."""
    return f"{table.name}_contract"


def promise_of(check: str, blocking: bool) -> str:
    """What a check promises, and what its failure does: two sentences."""
    promise = PROMISES.get(check, "Columns, types, keys and missing values are those of the contract.")
    return f"{promise} {'If it fails, nothing downstream is made.' if blocking else 'If it fails, it warns and nothing stops.'}"


def histogram_quality(histograms: Histograms, name: str = "merged_histograms") -> list[Outcome]:
    """The counters of one shard (`activation_histograms`) or of the whole corpus (`merged_histograms`)."""
    violations = counter_violations(histograms)
    tensors = judge(
        name,
        BIN_COUNTS,
        violations.tensors,
        [
            _equal("counts are whole numbers (int64)", "promised", "found", "int64 in every counter", _unlike("tensor")),
            _none("counts are not negative", "negative", "negative counters", by=("tensor",)),
        ],
    )
    layers = judge(
        name,
        BIN_COUNTS,
        violations.layers,
        [
            _none(
                "for every neuron, bins + underflow + overflow + NaN = counted positions",
                "unbalanced",
                "neurons unbalanced",
                of="neurons",
                by=("layer",),
                expected=f"{histograms.positions:,} for every neuron",
            ),
            _none("no activation is NaN", "nan", "activations NaN", of="counted", by=("layer",)),
        ],
    )
    tokens = _predicted_counts(name, violations.tokens, "top-prediction counts")
    is_by_embedding = histograms.counts_embedding_predictions
    if is_by_embedding:
        tokens += _predicted_counts(name, violations.embedding_tokens, "counts of top predictions by the embedding")
    by_embedding = _equal(
        "over the vocabulary, top predictions by the embedding add up to the counted positions",
        "embedding_predictions",
        "positions",
        _number(histograms.positions),
    )
    vocabulary = judge(
        name,
        BIN_COUNTS,
        violations.vocabulary,
        [
            _equal(
                "over the vocabulary, occurrences add up to the counted positions",
                "occurrences",
                "positions",
                _number(histograms.positions),
            ),
            _equal(
                "over the vocabulary, predictions add up to the counted positions",
                "predictions",
                "positions",
                _number(histograms.positions),
            ),
            _none("no entry is predicted rightly more often than it is predicted", "too_often_correct", "entries too often right"),
            *([by_embedding] if is_by_embedding else []),
        ],
    )
    return [*tensors, *layers, *tokens, *vocabulary, *_overflow(name, violations.layers)]


def _predicted_counts(name: str, violations: pl.DataFrame, counts: str) -> list[Outcome]:
    """What must hold of the counters of tracked tokens, called `counts` in the sentences."""
    by_token = ("layer", "token_id")
    return judge(
        name,
        BIN_COUNTS,
        violations,
        [
            _none(
                f"for every tracked token, {counts} sum to the same number for every neuron",
                "differing",
                "sums differ",
                of="neurons",
                by=by_token,
            ),
            _none(
                f"for every tracked token, {counts} sum to the token's own count of predictions",
                "unlike_predictions",
                "sums differ",
                of="neurons",
                by=by_token,
            ),
            _none(f"{counts} are never above the count of their bin", "above_count", "bins too high", by=by_token),
        ],
    )


def _overflow(name: str, by_layer: pl.DataFrame) -> list[Outcome]:
    share = pl.col("overflow") / pl.max_horizontal("counted", 1)
    worst = by_layer.with_columns(share=share).sort("share", descending=True, maintain_order=True).row(0, named=True)
    return _small_share(
        name,
        BIN_COUNTS,
        "few activations lie above the bins",
        (int(by_layer["overflow"].sum()), int(by_layer["counted"].sum())),
        LARGEST_OVERFLOW_SHARE,
        f"{LARGEST_OVERFLOW_SHARE:.1%} of the counted activations",
        f"; most in layer {worst['layer']} ({worst['share']:.4%})",
    )


def screen_quality(histograms: Histograms, name: str = "merged_histograms") -> list[Outcome]:
    """The sums by predicted token of one shard or of the whole corpus."""
    violations = screen_violations(histograms)
    groups = len(histograms.screened_ids)
    return [
        *judge(
            name,
            SCREEN,
            violations.positions,
            [
                _equal(
                    "positions of the screened tokens and of all others add up to the counted positions",
                    "held",
                    "positions",
                    _number(histograms.positions) if groups else "no screen",
                ),
                _none("no count and no sum of squares is negative", "negative", "negative counters"),
            ],
        ),
        *judge(
            name,
            SCREEN,
            violations.tokens,
            [
                _none(
                    "every screened token has as many positions as predictions",
                    "unlike_predictions",
                    "tokens differ",
                    of="tokens",
                    by=("token_id",),
                ),
                _none(
                    "a tracked token has as many positions as its histograms",
                    "unlike_histogram",
                    "tokens differ",
                    of="tokens",
                    by=("token_id",),
                ),
            ],
        ),
        *judge(
            name,
            SCREEN,
            violations.layers,
            [
                _none(
                    "for every neuron, the sums of all groups add up to its mean times the positions",
                    "adrift",
                    "neurons adrift",
                    of="neurons",
                    by=("layer",),
                    severity="warning",
                )
            ],
        ),
    ]


def screen_table_quality(token_neuron_screen: pl.DataFrame, min_count: int, left_out: tuple[int, int]) -> list[Outcome]:
    """The neurons that stand out. `left_out`: positions whose prediction is not screened, and all positions."""
    token = ("token_id",)
    return [
        *judge(
            "token_neuron_screen",
            SCREEN_VALUES,
            table_violations_of_screen(token_neuron_screen, min_count),
            [
                _none(
                    "shares lie between 0 and 1, means and deviations are numbers, a difference has the sign of the means' difference",
                    "strange",
                    "rows contradictory",
                    of="rows",
                    by=token,
                ),
                _none("ranks follow the share of variance explained", "disordered", "rows out of order", of="rows", by=token),
            ],
        ),
        *_small_share(
            "token_neuron_screen",
            SCREEN_VALUES,
            "few positions predict a token that is not screened",
            left_out,
            LARGEST_LEFT_OUT_SHARE,
            f"{LARGEST_LEFT_OUT_SHARE:.0%} of the counted positions (more: raise screen in the study)",
        ),
    ]


def merge_quality(
    expected_shards: Sequence[str], merged_shards: Sequence[str], shard_positions: Sequence[int], histograms: Histograms
) -> list[Outcome]:
    """The merge of all shards. `merged_shards` and their `shard_positions` are in the order in which they were added up."""
    expected, merged = Counter(expected_shards), Counter(merged_shards)
    names = sorted(expected | merged)
    shards = pl.DataFrame(
        {"shard": names, "expected": [expected[name] for name in names], "merged": [merged[name] for name in names]},
        schema={"shard": pl.String, "expected": pl.Int64, "merged": pl.Int64},
    )
    positions = pl.DataFrame({"added_up": [sum(shard_positions)], "merged": [histograms.positions]})
    return [
        *judge(
            "merged_histograms",
            MERGE,
            shards,
            [
                _equal(
                    "every partition is merged exactly once",
                    "merged",
                    "expected",
                    f"{len(expected_shards)} partitions, once each",
                    _times_merged,
                )
            ],
        ),
        *judge(
            "merged_histograms",
            MERGE,
            positions,
            [_equal("the positions of the partitions add up to the merged positions", "merged", "added_up", _number(sum(shard_positions)))],
        ),
    ]


def _times_merged(shards: pl.DataFrame) -> str:
    wrong = shards.filter(pl.col("merged") != pl.col("expected"))
    if wrong.is_empty():
        return f"{len(shards)} partitions, once each"
    shard, expected, merged = wrong.row(0)
    return f"{len(wrong)} of {len(shards)} partitions wrong; first {shard}: merged {merged} times, {expected} expected"


def table_quality(table: Table, frame: pl.DataFrame, grid: Mapping[str, Sequence[int | str]] | None = None) -> list[Outcome]:
    """Any published table against its contract. `grid` gives all values of some key columns: every combination must be there."""
    check = contract_check(table)
    cells = _none("the grid is complete", "incomplete", "cells missing", of="cells", expected=_grid_text(grid or {}))
    beside = _none("no row lies beside the grid", "beside", "rows beside it", of="rows")
    counted = table_violations.rows(table, frame, grid or {})
    return [
        *judge(
            table.asset,
            check,
            table_violations.columns(table, frame),
            [
                _equal(
                    "columns, their order and their types are those of the contract",
                    "found",
                    "promised",
                    f"{len(table.columns)} columns",
                    _unlike("column"),
                ),
                _none("nothing is missing or NaN where the contract does not allow it", "missing", "missing values", by=("column",)),
            ],
        ),
        *judge(
            table.asset,
            check,
            counted.with_columns(incomplete=pl.col("cells") - pl.col("cells_there"), repeated=pl.col("rows") - pl.col("distinct_keys")),
            [
                _none(f"each {', '.join(table.key)} stands in one row only", "repeated", "rows repeated", of="rows"),
                *([cells, beside] if grid else []),
            ],
        ),
    ]


def _grid_text(grid: Mapping[str, Sequence[int | str]]) -> str:
    return "every combination of " + " x ".join(f"{len(values):,} {name}" for name, values in grid.items())


def parity_quality(model_parity: pl.DataFrame, tolerance: float = PARITY_TOLERANCE["float32"]) -> list[Outcome]:
    """The model as it is run against plain Hugging Face code. `tolerance` is relative to the largest logit; see PARITY_TOLERANCE."""
    windows = table_violations.parity(model_parity, tolerance)
    return judge(
        "model_parity",
        PARITY,
        windows,
        [
            _at_least_one("positions are compared", "positions", "position"),
            _none("the top prediction is the same at every position", "prediction_disagreements", "positions differ", of="positions"),
            _none(
                "logits are the same within rounding",
                "too_large",
                "windows",
                expected=f"largest difference at most {tolerance:g} of the largest logit",
                observed=_largest_difference,
            ),
            _none(
                "the pass predicts what plain code predicts in float32",
                "float32_prediction_disagreements",
                "positions differ",
                of="positions",
                severity="warning",
            ),
            _none(
                "the pass puts activations into the bins that they have in plain float32 code",
                "float32_bin_disagreements",
                "activations differ",
                of="activations",
                severity="warning",
            ),
        ],
    )


def _largest_difference(windows: pl.DataFrame) -> str:
    if windows.is_empty():
        return "no window compared"
    not_a_number = windows.filter(pl.col("relative_difference") < 0).height
    largest = max(windows["relative_difference"].to_list())
    return f"at most {largest:.2g} of the largest logit in {windows.height} windows" + (
        f"; not a number in {not_a_number}" if not_a_number else ""
    )


def corpus_quality(documents: int, duplicates: int, empty: int = 0) -> list[Outcome]:
    """The corpus as read: `documents` kept, of which `duplicates` repeat an earlier text; `empty` ones were dropped before."""
    return judge(
        "corpus_documents",
        DOCUMENTS,
        pl.DataFrame({"documents": [documents], "duplicates": [duplicates]}),
        [
            _at_least_one("there is text to read", "documents", "document", f" ({empty:,} empty ones dropped)"),
            _none("no document repeats an earlier one", "duplicates", "documents repeated", of="documents", severity="warning"),
        ],
    )


def curve_quality(proportion_curves: pl.DataFrame, positions: int) -> list[Outcome]:
    """Every plotted curve. `positions` are the counted positions of the corpus."""
    by_curve = table_violations.curves(proportion_curves, positions)
    return [
        *judge(
            "proportion_curves",
            CURVE_VALUES,
            by_curve,
            [
                _none(
                    "the counts of every curve add up to the counted positions",
                    "unbalanced",
                    "curves unbalanced",
                    by=_CURVE,
                    expected=f"{positions:,} in every curve",
                ),
                _none(
                    "every proportion is top_prediction_count / count and lies between 0 and 1", "wrong_proportion", "bins wrong", by=_CURVE
                ),
                _none("every interval lies between 0 and 1 and holds its proportion", "wrong_interval", "bins wrong", by=_CURVE),
            ],
        ),
        *_small_share(
            "proportion_curves",
            CURVE_VALUES,
            "most plotted bins have enough positions (min_count)",
            (int(by_curve["unreliable"].sum()), int(by_curve["filled"].sum())),
            LARGEST_UNRELIABLE_SHARE,
            f"{LARGEST_UNRELIABLE_SHARE:.0%} of the plotted bins below min_count",
        ),
    ]


def embedding_curve_quality(embedding_curves: pl.DataFrame, positions: int) -> list[Outcome]:
    """The curves for the top predictions by the embedding; none where the study does not count these."""
    return judge(
        "embedding_predictions",
        EMBEDDING_VALUES,
        table_violations.embedding_curves(embedding_curves, positions),
        [
            _none(
                "the counts of every curve add up to the counted positions",
                "unbalanced",
                "curves unbalanced",
                by=_CURVE,
                expected=f"{positions:,} in every curve",
            ),
            _none("no level has more top predictions by the embedding than positions", "above_count", "levels too high", by=_CURVE),
            _none(
                "all curves of a token hold the same number of top predictions by the embedding", "differing", "curves differ", by=_CURVE
            ),
        ],
    )


def neuron_quality(neuron_statistics: pl.DataFrame) -> list[Outcome]:
    """Neurons that tell nothing: dead ones, and those whose statistics are not numbers."""
    return judge(
        "neuron_statistics",
        NEURON_ACTIVITY,
        table_violations.neurons(neuron_statistics),
        [
            _none("no neuron is dead", "dead", "neurons dead", of="neurons", by=("layer",), severity="warning"),
            _none("every statistic is a finite number", "not_finite", "neurons without", of="neurons", by=("layer",), severity="warning"),
        ],
    )


def score_quality(token_neuron_scores: pl.DataFrame) -> list[Outcome]:
    """The scores of every tracked token and neuron."""
    by_token = table_violations.scores(token_neuron_scores)
    token = ("token_id",)
    return judge(
        "token_neuron_scores",
        SCORE_VALUES,
        by_token.with_columns(unpredicted=(pl.col("unscored") == pl.col("neurons")).cast(pl.Int64)),
        [
            _none(
                "AUROC, its error, average precision, proportion and recall lie between 0 and 1",
                "out_of_range",
                "pairs out of range",
                of="neurons",
                by=token,
            ),
            _none(
                "half_activation and recall are given exactly where a reliable bin reaches one half",
                "contradicting",
                "pairs contradictory",
                of="neurons",
                by=token,
            ),
            _none("a token has an AUROC for every neuron or for none", "partly_scored", "pairs unscored", of="neurons", by=token),
            _none(
                "every tracked token is the top prediction somewhere, and not everywhere",
                "unpredicted",
                "tokens never or always predicted",
                by=("token",),
                severity="warning",
            ),
        ],
    )


def patching_quality(activation_patching: pl.DataFrame, layers: int) -> list[Outcome]:
    """Every cell of activation_patching, of a model with `layers`."""
    by_prompt = table_violations.patching(activation_patching, layers)
    prompt = ("prompt",)
    return judge(
        "activation_patching",
        PATCHING_VALUES,
        by_prompt,
        [
            _none("every difference and improvement is a finite number", "not_finite", "cells not finite", of="cells", by=prompt),
            _none("a head is named where a single head was patched, and nowhere else", "misnamed", "cells", of="cells", by=prompt),
            _none("every component and head was patched at every layer and position", "absent", "cells missing", by=prompt),
        ],
    )


def context_quality(neuron_contexts: pl.DataFrame) -> list[Outcome]:
    """Every context of neuron_contexts."""
    sentence = "every context holds its place, with the activation that it was chosen or drawn with"
    by_neuron = table_violations.contexts(neuron_contexts)
    return judge(
        "neuron_contexts",
        CONTEXT_VALUES,
        by_neuron,
        [_none(sentence, "wrong", "contexts wrong", of="contexts", by=("layer", "neuron"))],
    )


def ablation_quality(neuron_ablation: pl.DataFrame, ablation_controls: pl.DataFrame, tracked: int, wanted: int) -> list[Outcome]:
    """Every effect of neuron_ablation, and its controls. `tracked` tokens were to be ablated at `wanted` positions each (0: none)."""
    by_pair = table_violations.ablation(neuron_ablation)
    pair = ("token_id", "layer", "neuron")
    absent = tracked - neuron_ablation["token_id"].n_unique() if wanted else 0
    name = "neuron_ablation"
    return [
        *judge(
            name,
            ABLATION_VALUES,
            by_pair,
            [
                _none("direct and mediated effect sum to the change of the logit", "torn", "effects torn", of="effects", by=pair),
                _none(
                    "effects are numbers, shares, p- and q-values lie where they can, intervals have two ends in order",
                    "contradicting",
                    "effects contradictory",
                    of="effects",
                    by=pair,
                ),
                _none("every pair has at least 100 controls", "few_controls", "pairs with fewer", of="pairs", by=pair, severity="warning"),
            ],
        ),
        *judge(
            name,
            ABLATION_VALUES,
            table_violations.controls(ablation_controls),
            [
                _none(
                    "every control is another neuron, with an output norm and a share above zero beside the neuron's own",
                    "wrong",
                    "rows wrong",
                    of="rows",
                    by=pair,
                )
            ],
        ),
        *judge(
            name,
            ABLATION_VALUES,
            pl.DataFrame({"absent": [absent], "tracked": [tracked]}),
            [
                _none(
                    "every tracked token is predicted somewhere in the text that was read for ablation",
                    "absent",
                    "tokens without",
                    of="tracked",
                    severity="warning",
                )
            ],
        ),
    ]


def prompt_ablation_quality(prompt_ablation: pl.DataFrame) -> list[Outcome]:
    """The probabilities of prompt_ablation."""
    sentence = "every probability lies between 0 and 1"
    by_prompt = table_violations.probabilities(prompt_ablation)
    return judge("prompt_ablation", ABLATION_VALUES, by_prompt, [_none(sentence, "outside", "rows outside", of="rows", by=("prompt",))])


def _none(
    sentence: str,
    column: str,
    unit: str,
    of: str | None = None,
    by: tuple[str, ...] = (),
    severity: Severity = "blocking",
    expected: str = "",
    observed: Callable[[pl.DataFrame], str] | None = None,
) -> Expectation:
    """No violation in any row. `of` is the column of what was looked at, `by` the columns that name a row."""
    return Expectation(
        sentence,
        severity,
        expected or f"0 {unit}",
        "ExpectColumnValuesToBeBetween",
        {"column": column, "min_value": 0, "max_value": 0},
        observed or (lambda frame: _violations(frame, column, unit, of, by)),
    )


none_of = _none  # for suites in modules of their own


def _violations(frame: pl.DataFrame, column: str, unit: str, of: str | None, by: tuple[str, ...]) -> str:
    total = frame[column].sum()
    text = f"{total:,} of {frame[of].sum():,} {unit}" if of else f"{total:,} {unit}"
    if not total or not by:
        return text
    worst = frame.sort(column, descending=True, maintain_order=True).row(0, named=True)
    place = ", ".join(f"{name} {worst[name]!r}" for name in by)
    return f"{text}; most in {place} ({worst[column]:,})"


def _equal(sentence: str, found: str, promised: str, expected: str, observed: Callable[[pl.DataFrame], str] | None = None) -> Expectation:
    """The two columns agree in every row."""
    return Expectation(
        sentence,
        "blocking",
        expected,
        "ExpectColumnPairValuesToBeEqual",
        {"column_A": found, "column_B": promised},
        observed or (lambda frame: _number(frame[found][0])),
    )


def _unlike(name: str) -> Callable[[pl.DataFrame], str]:
    """Text of the first row whose found is not its promised; rows are named by column `name`."""

    def text(frame: pl.DataFrame) -> str:
        wrong = frame.filter(pl.col("found") != pl.col("promised"))
        if wrong.is_empty():
            return f"{frame.height} of {frame.height} as promised"
        first = wrong.row(0, named=True)
        return f"{wrong.height} of {frame.height} differ; first {first[name]}: {first['found']} instead of {first['promised']}"

    return text


def _at_least_one(sentence: str, column: str, unit: str, remark: str = "") -> Expectation:
    """The column's sum is not 0; `unit` in the singular."""
    return Expectation(
        sentence,
        "blocking",
        f"at least one {unit}",
        "ExpectColumnSumToBeBetween",
        {"column": column, "min_value": 1},
        lambda frame: f"{frame[column].sum():,} {unit}s{remark}",
    )


def _small_share(
    asset: str, check: str, sentence: str, part_and_whole: tuple[int, int], largest: float, expected: str, remark: str = ""
) -> list[Outcome]:
    """A warning where part / whole exceeds `largest`; nothing of nothing is a share of 0."""
    part, whole = part_and_whole
    frame = pl.DataFrame({"share": [part / max(whole, 1)]})
    arguments = {"column": "share", "max_value": largest}
    expectation = Expectation(
        sentence,
        "warning",
        f"at most {expected}",
        "ExpectColumnMaxToBeBetween",
        arguments,
        lambda shares: f"{shares['share'][0]:.4%} ({part:,} of {whole:,}){remark}",
    )
    return judge(asset, check, frame, [expectation])


def _number(value: int) -> str:
    return f"{value:,} positions"
