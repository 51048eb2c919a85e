"""What every published table and tensor holds: dtype, unit, grain and meaning of each column, written once.

Storage casts and verifies with these contracts, Dagster shows them as column metadata, the blocking checks test them, and the
report prints them as its data dictionary. No computation belongs here.
"""

import sys
from collections.abc import Collection
from dataclasses import dataclass, replace

import polars as pl

from assets.errors import InputError

LARGEST = sys.float_info.max
# Least and most of a number by its unit, both allowed; a number of any other unit is any finite one.
LIMITS = {
    "share": (0.0, 1.0),
    "index": (0.0, LARGEST),
    "position": (0.0, LARGEST),
    "byte": (0.0, LARGEST),
    "length": (0.0, LARGEST),
    "multiple": (0.0, LARGEST),
}


@dataclass(frozen=True)
class Column:
    """One column: its polars dtype, its unit ("" for a name or a flag), what it means, and whether it may be missing.

    `is_open`: infinity is one of its values, or what is infinite or no number is told by a check of its own, as a warning.
    `between`: least and most value where they are closer than the unit's.
    """

    name: str
    dtype: pl.DataType
    unit: str
    description: str
    nullable: bool = False
    is_open: bool = False
    between: tuple[float, float] | None = None

    @property
    def limits(self) -> tuple[float, float] | None:
        """Least and most value, both allowed. None for what is no number, and where any is allowed."""
        if not self.dtype.is_numeric() or self.is_open:
            return None
        return self.between or LIMITS.get(self.unit, (-LARGEST, LARGEST))


@dataclass(frozen=True)
class Table:
    """One Parquet table. `key` names the columns that together are unique: the grain."""

    name: str
    asset: str
    description: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]

    @property
    def schema(self) -> pl.Schema:
        """Column names and dtypes, in the stored order."""
        return pl.Schema({column.name: column.dtype for column in self.columns})


@dataclass(frozen=True)
class Tensor:
    """One array of a Zarr group: NumPy dtype, named dimensions, unit and meaning."""

    name: str
    dtype: str
    dimensions: tuple[str, ...]
    unit: str
    description: str


class ContractError(InputError):
    """A frame that does not hold what its contract promises."""


def conform(table: Table, frame: pl.DataFrame) -> pl.DataFrame:
    """Order and cast the columns of `frame` to the contract; fail on a column that is missing, unknown or null where it may not be."""
    given, promised = set(frame.columns), {column.name for column in table.columns}
    if given != promised:
        raise ContractError(
            f"table {table.name}: missing columns {sorted(promised - given)}, unknown columns {sorted(given - promised)}; "
            f"the contract allows exactly {[column.name for column in table.columns]}"
        )
    ordered = frame.select(table.schema.names()).cast(table.schema)
    for column in table.columns:
        missing = 0 if column.nullable else ordered[column.name].null_count()
        if missing:
            raise ContractError(f"table {table.name}: column {column.name} has {missing} missing values; none is allowed")
    return ordered


# Columns that mean the same in every table, so that the same quantity has the same name, dtype and unit everywhere.
LAYER = Column("layer", pl.Int32(), "index", "Transformer block, counted from 0.")
NEURON = Column("neuron", pl.Int32(), "index", "Neuron of the block's MLP (its hidden unit), counted from 0.")
TOKEN_ID = Column("token_id", pl.Int32(), "index", "Entry of the model's vocabulary.")
TOKEN = Column("token", pl.String(), "text", "The entry as it reads inside running text; a leading space belongs to it.")
DOCUMENT = Column("document", pl.Int64(), "index", "Row of the document in corpus_documents, counted from 0.")
DOMAIN = Column("domain", pl.Int32(), "index", "Domain of the document in corpus_domains; 0 for all where the study names no domains.")
WINDOW_IN_DOCUMENT = Column("window_in_document", pl.Int32(), "index", "Window of the document, counted from 0.")
POSITION = Column("position", pl.Int32(), "index", "Position in the window or prompt; the beginning-of-sequence token is 0.")
RANK = Column("rank", pl.Int32(), "index", "Place in the order, 1 is best.")
PROMPT = Column("prompt", pl.String(), "name", "Name of the prompt in the study.")
VARIANT = Column("variant", pl.String(), "name", "`clean` or `corrupt`.")
CONVENTION = Column(
    "convention",
    pl.String(),
    "name",
    "`published`: embedding W_E, LayerNorm folded, writing weights centred, as in the post. "
    "`logits`: final norm gain and unembedding W_U, the neuron's true direct effect on the model's logits, before any cap.",
)
CONGRUENCE = Column(
    "congruence",
    pl.Float32(),
    "dot product",
    "The neuron's weights times the token's vector: its output weights where no side is named. Convention `logits`, side `output`: what "
    "one unit of activation adds to the token's logit.",
)
CONGRUENCE_LOGITS = Column(
    "congruence", pl.Float32(), "dot product", "Output weights times the token's vector in the convention `logits`: what one unit of activation "
    "adds to the token's logit, times the final norm's scale and that of a norm behind the MLP, if there is one.",
)  # fmt: skip
DIRECTION = Column(
    "direction",
    pl.Int8(),
    "",
    "1: the token is predicted at higher activations, auroc at least 0.5. -1: at lower ones; scores are read with activations negated.",
    True,
    between=(-1, 1),
)
SEPARATION = Column(
    "separation", pl.Float64(), "share", "max(auroc, 1 - auroc): the AUROC, read in the direction.", True, between=(0.5, 1.0)
)
IMPROVEMENT = Column(
    "improvement",
    pl.Float32(),
    "of the difference",
    "(patched - corrupt) / (clean - corrupt) of the logit difference answer - wrong answer.",
)

_float = pl.Float64()
FEWEST_FOLDS = "Missing with fewer than three folds that hold a case."


def _interval(name: str, unit: str, of: str, missing: str = FEWEST_FOLDS) -> tuple[Column, Column]:
    """The columns <name>_low and <name>_high of an interval that respects documents."""
    how = "95 % interval by leaving out one fold of documents after the other"
    return (
        Column(f"{name}_low", _float, unit, f"Lower end of the {how}, of {of}. {missing}", True),
        Column(f"{name}_high", _float, unit, f"Upper end of the same interval of {of}.", True),
    )


# The bins of a curve.
BIN_LEFT = Column("bin_left", _float, "activation", "Lower edge of the bin, inside it; minus infinity for the underflow.", is_open=True)
BIN_RIGHT = Column("bin_right", _float, "activation", "Upper edge of the bin, outside it; infinity for the overflow.", is_open=True)
BIN_COUNT = Column("count", pl.Int64(), "position", "Positions with an activation in the bin.")

MODEL_SNAPSHOT = Table(
    "model_snapshot",
    "model_snapshot",
    "Every file of the model that a run reads, with its size and hash.",
    ("file",),
    (
        Column("file", pl.String(), "path", "File name inside the model's folder."),
        Column("bytes", pl.Int64(), "byte", "Size of the file."),
        Column("sha256", pl.String(), "hex", "SHA-256 of the file's content."),
    ),
)

TRACKED_TOKENS = Table(
    "tracked_tokens",
    "tracked_tokens",
    "The tracked tokens of the study as vocabulary entries, in the study's order.",
    ("token_id",),
    (
        Column("row", pl.Int32(), "index", "Row of the token in top_prediction_count, counted from 0."),
        Column("given", pl.String(), "text", "The token as the study names it: its text or its id."),
        TOKEN_ID,
        TOKEN,
    ),
)

TOKEN_GROUPS = Table(
    "token_groups",
    "tracked_tokens",
    "Groups of tracked tokens that the study tells as one: a row for each member.",
    ("token_id", "member_id"),
    (
        Column("token_id", pl.Int32(), "index", "The group's number in other tables: behind the vocabulary's entries, in the study's order."),
        Column("token", pl.String(), "text", "The group's name."),
        Column("member_id", pl.Int32(), "index", "Vocabulary entry of a member."),
        Column("member", pl.String(), "text", "Text of that entry."),
    ),
)  # fmt: skip

CORPUS_DOCUMENTS = Table(
    "corpus_documents",
    "corpus_documents",
    "The documents of the corpus in their original order; empty ones are dropped and counted.",
    ("document",),
    (
        DOCUMENT,
        Column("source_row", pl.Int64(), "index", "Row in the source files, counted from 0, empty documents included."),
        Column("text", pl.String(), "text", "The document; empty where the corpus gives its tokens alone."),
        Column("characters", pl.Int64(), "character", "Length of the text in Unicode code points."),
        Column(
            "sha256", pl.String(), "hex", "SHA-256 of the UTF-8 text; of the entries as little-endian int32 where the corpus gives tokens."
        ),
        Column("is_duplicate", pl.Boolean(), "", "The same text, or the same tokens, stand earlier in the corpus."),
        DOMAIN,
        Column(
            "token_ids",
            pl.List(pl.Int32()),
            "entry",
            "The tokens that the corpus gives, as it gives them; absent where it gives text to be cut.",
            True,
        ),
    ),
)

CORPUS_FILES = Table(
    "corpus_files",
    "corpus_documents",
    "The files that the documents were read from, in order: a row of the sources is found again by them.",
    ("file",),
    (
        Column("file", pl.Int32(), "index", "Place in the order of reading, counted from 0."),
        Column(
            "name",
            pl.String(),
            "name",
            "Path from the study's folder, or URL; of a hub data set, the path in the repository at the commit of corpus_documents.",
        ),
        Column("first_row", pl.Int64(), "index", "The source_row of its first row."),
        Column(
            "rows",
            pl.Int64(),
            "row",
            "Rows that were read of it, empty documents included; fewer than it has where the study wants no more.",
        ),
    ),
)

CORPUS_DOMAINS = Table(
    "corpus_domains",
    "corpus_documents",
    "The domains of the corpus, largest first: at most six by the study's column or files, and one more that holds the rest.",
    ("domain",),
    (
        DOMAIN,
        Column("name", pl.String(), "name", "The domain as the corpus names it: `other` holds the rest, `none given` documents that name none; "
               "empty where the study names no domains."),
        Column("documents", pl.Int64(), "document", "Documents of the domain, empty ones left out."),
    ),
)  # fmt: skip

TOKEN_WINDOWS = Table(
    "token_windows",
    "token_windows",
    "What the model reads: the beginning-of-sequence token and at most context_length - 1 tokens of one document.",
    ("document", "window_in_document"),
    (
        DOCUMENT,
        WINDOW_IN_DOCUMENT,
        Column("start", pl.Int32(), "token", "Tokens of the document that stand before this window."),
        Column("length", pl.Int32(), "token", "Tokens in the window, the beginning-of-sequence token included."),
        Column("token_ids", pl.List(pl.Int32()), "index", "The window's token ids, the beginning-of-sequence token first."),
        DOMAIN,
    ),
)

POSITION_PREDICTIONS = Table(
    "position_predictions",
    "activation_histograms",
    "What the model itself predicts after every token of the corpus, as the pass saw it: one row a window.",
    ("document", "window_in_document"),
    (
        DOCUMENT,
        WINDOW_IN_DOCUMENT,
        Column("predictions", pl.List(pl.Int32()), "index", "The top prediction after each token of the window, the beginning-of-sequence "
               "token's first: as many as the window has tokens."),
    ),
)  # fmt: skip

MODEL_PARITY = Table(
    "model_parity",
    "model_parity",
    "The model as Neuron Atlas runs it against the same weights in plain Hugging Face code, on sample windows.",
    ("document", "window_in_document"),
    (
        DOCUMENT,
        WINDOW_IN_DOCUMENT,
        Column("positions", pl.Int64(), "position", "Positions compared."),
        Column(
            "largest_logit_difference",
            _float,
            "logit",
            "Largest absolute difference of a logit over all positions and tokens: of TransformerLens's bridge, which prompts and ablation run; "
            "of what the pass runs, where TransformerLens does not know the model.",
            is_open=True,
        ),
        Column("largest_logit", _float, "logit", "Largest absolute logit: the scale against which the difference is read.", is_open=True),
        Column("prediction_disagreements", pl.Int64(), "position", "Positions at which the top predictions differ."),
        Column(
            "float32_prediction_disagreements",
            pl.Int64(),
            "position",
            "Positions at which the pass, in the study's dtype and with its linear maps, predicts another token than plain code in float32.",
        ),
        Column("activations", pl.Int64(), "activation", "Activations compared with float32: positions x layers x neurons."),
        Column(
            "float32_bin_disagreements",
            pl.Int64(),
            "activation",
            "Of these, activations that fall into another bin than in float32. Calibrated bins are calibrated on the compared windows.",
        ),
    ),
)

ACTIVATION_BINS = Table(
    "activation_bins",
    "activation_bins",
    "The bins of each neuron: bin i is [(first_bin + i) / per_unit, (first_bin + i + 1) / per_unit).",
    ("layer", "neuron"),
    (
        LAYER,
        NEURON,
        Column("per_unit", pl.Float32(), "bins per unit of activation", "Bins in one unit of activation: the inverse of the width."),
        Column("first_bin", pl.Int32(), "bin", "floor(activation * per_unit) of the lowest bin."),
        Column("bins", pl.Int32(), "bin", "How many bins the neuron has; the same number for every neuron."),
    ),
)

TOKEN_COUNTS = Table(
    "token_counts",
    "token_counts",
    "How often each vocabulary entry occurs and is the top prediction, over the counted positions.",
    ("token_id",),
    (
        TOKEN_ID,
        TOKEN,
        Column("occurrences", pl.Int64(), "position", "Counted positions that hold the token."),
        Column("predictions", pl.Int64(), "position", "Counted positions at which the token is the model's top prediction."),
        Column("correct_predictions", pl.Int64(), "position", "Of these, positions after which the token really follows in the window."),
    ),
)

NEURON_STATISTICS = Table(
    "neuron_statistics",
    "neuron_statistics",
    "Distribution of each neuron's activation over all counted positions.",
    ("layer", "neuron"),
    (
        LAYER,
        NEURON,
        Column("count", pl.Int64(), "position", "Counted positions, NaN included."),
        Column("mean", _float, "activation", "Mean over the counted positions that are not NaN.", True, is_open=True),
        Column("variance", _float, "activation squared", "Population variance.", True, is_open=True),
        Column("skewness", _float, "", "Third standardized moment; missing where the variance is 0.", True, is_open=True),
        Column(
            "kurtosis",
            _float,
            "",
            "Fourth standardized moment (3 for a normal distribution); missing where the variance is 0.",
            True,
            is_open=True,
        ),
        Column("minimum", pl.Float32(), "activation", "Smallest activation.", True, is_open=True),
        Column("maximum", pl.Float32(), "activation", "Largest activation.", True, is_open=True),
        Column("share_above_zero", _float, "share", "Share of counted positions with an activation above 0."),
        Column("underflow", pl.Int64(), "position", "Positions below the lowest bin."),
        Column("overflow", pl.Int64(), "position", "Positions at or above the end of the highest bin."),
        Column("nan", pl.Int64(), "position", "Positions at which the activation is not a number."),
        Column("is_dead", pl.Boolean(), "", "The activation never rises above 0 (gated MLPs: never leaves 0)."),
    ),
)

SCREENED_TOKENS = Table(
    "screened_tokens",
    "screened_tokens",
    "The tokens for which the pass counts every neuron's mean where they are the top prediction: tracked ones, then the most frequent.",
    ("token_id",),
    (
        RANK,
        TOKEN_ID,
        TOKEN,
        Column("is_tracked", pl.Boolean(), "", "The study tracks the token: it is screened however rare it is."),
        Column("pilot_predictions", pl.Int64(), "position", "Times that it was the top prediction in the pilot; 0 where none was needed."),
        Column(
            "occurrences",
            pl.Int64(),
            "position",
            "Times that it occurs in the first shard, beginnings of windows included: tells with pilot_predictions how frequent it is.",
        ),
    ),
)

_PREDICTIONS = Column("predictions", pl.Int64(), "position", "Counted positions at which the token is the model's top prediction.")
_MEAN_WHERE_PREDICTED = Column(
    "mean_where_predicted", _float, "activation", "Mean activation over the positions at which the token is predicted."
)
_MEAN_ELSEWHERE = Column("mean_elsewhere", _float, "activation", "Mean activation over all other counted positions.")
_DIFFERENCE = Column(
    "standardized_difference",
    _float,
    "standard deviations",
    "(mean_where_predicted - mean_elsewhere) / pooled standard deviation, which is the root of the sum of squares within the two groups "
    "/ (positions - 2). Missing where the neuron varies within neither group.",
    True,
)
_EXPLAINED = Column(
    "variance_explained",
    _float,
    "share",
    "Share of the neuron's variance that lies between the two groups (eta squared): predictions x other positions / positions "
    "x (difference of the means)^2 / sum of squares about the neuron's mean.",
)

TOKEN_NEURON_SCREEN = Table(
    "token_neuron_screen",
    "token_neuron_screen",
    "For each screened token with at least min_count predictions, the neurons whose mean activation where it is predicted stands out most.",
    ("token_id", "rank"),
    (
        TOKEN_ID,
        TOKEN,
        _PREDICTIONS,
        Column(
            "rank", pl.Int32(), "index", "Place by variance_explained within the token, 1 is largest; ties to the lower layer, then neuron."
        ),
        LAYER,
        NEURON,
        _MEAN_WHERE_PREDICTED,
        _MEAN_ELSEWHERE,
        Column("deviation_where_predicted", _float, "activation", "Population standard deviation over the former positions."),
        Column("deviation_elsewhere", _float, "activation", "Population standard deviation over the latter."),
        _DIFFERENCE,
        _EXPLAINED,
        Column("false_discovery_rate", _float, "share", "Of the pairs of a screened token and a neuron whose variance is explained as surely, the share expected to be luck, at most: "
               "Benjamini-Hochberg over all pairs of the screen, with p-values against the same share of all neurons where the labels of each window were turned.", True),
    ),
)  # fmt: skip

_CONTRIBUTION = (
    CONGRUENCE_LOGITS,
    Column("contribution_where_predicted", _float, "logit", "Mean over the positions at which the token is the top prediction of what the neuron adds "
           "to its logit: activation x congruence / what the final norm, and a norm behind the MLP, divide by there. Before any cap."),
    Column("contribution_elsewhere", _float, "logit", "The same mean over all other counted positions."),
    Column("contribution", _float, "logit", "contribution_where_predicted - contribution_elsewhere: above 0 the neuron writes the token where it is "
           "predicted, below 0 it writes against it."),
)  # fmt: skip

CONTRIBUTIONS = Table(
    "contributions",
    "contributions",
    "What every neuron adds directly to the logit of each tracked token where the token is predicted, and elsewhere.",
    ("token_id", "layer", "neuron"),
    (TOKEN_ID, TOKEN, LAYER, NEURON, *_CONTRIBUTION, *_interval("contribution", "logit", "contribution")),
)

CONTRIBUTION_SCREEN = Table(
    "contribution_screen",
    "contributions",
    "For each screened token with at least min_count predictions, the neurons that write it most where it is predicted, and those that write against it.",
    ("token_id", "end", "rank"),
    (
        TOKEN_ID,
        TOKEN,
        _PREDICTIONS,
        Column("end", pl.String(), "name", "`writes`: contribution above 0; `writes_against`: below 0."),
        Column(
            "rank",
            pl.Int32(),
            "index",
            "Place by the size of the contribution at this end, 1 is largest; ties to the lower layer, then neuron.",
        ),
        LAYER,
        NEURON,
        *_CONTRIBUTION,
    ),
)

PROPOSED_PAIRS = Table(
    "proposed_pairs",
    "contributions",
    "Tokens worth tracking and neurons worth studying next: the neuron writes the token more than any other neuron, and no other screened token "
    "more; the token is not tracked yet.",
    ("token_id",),
    (
        Column("rank", pl.Int32(), "index", "Place by contribution, 1 is largest; ties to the lower token id."),
        TOKEN_ID,
        TOKEN,
        Column("is_named_by_text", pl.Boolean(), "", "A study may name the token by its text; else by its id."),
        _PREDICTIONS,
        LAYER,
        NEURON,
        Column("contribution", _float, "logit", "As in contribution_screen."),
        Column("direction", pl.Int8(), "", "1: the neuron's mean activation is higher where the token is predicted. -1: it is lower. Missing where it is "
               "the same, or the neuron varies too little to tell.", True, between=(-1, 1)),
        _DIFFERENCE,
        Column("variance_explained", _float, "share", "As in token_neuron_screen; missing where the neuron varies too little to tell.", True),
    ),
)  # fmt: skip

CANDIDATES = Table(
    "candidates",
    "candidates",
    "The neurons that are studied for each tracked token, once for every line of evidence that sends them.",
    ("token_id", "layer", "neuron", "line"),
    (
        TOKEN_ID,
        TOKEN,
        Column("line", pl.String(), "name", "`named` by the study, or best by `separation`, `average_precision`, `contribution` (writes the token), "
               "`contribution_against` (writes against it), `congruence` (output weights, convention `logits`; of a gated neuron its size), `patching` (the share of a prompt's "
               "logit difference restored at the last position, where the token is the answer), `patched_together` (two or more neurons that "
               "restore it together: those of patched_neuron_sets with `is_told`; the value is what they restore), `prompt_set` (its "
               "median over the pairs of a prompt set with that answer) or `contrast` (what it adds to the "
               "difference of the logits of the token and another), or by the `screen` (share of its variance that the token's predictions explain)."),
        Column("rank", pl.Int32(), "index", "Place among the token's neurons by that line, 1 is best; missing for named neurons.", nullable=True),
        LAYER,
        NEURON,
        Column("value", _float, "of its line", "What the line says of the neuron; missing for named neurons.", nullable=True),
    ),
)  # fmt: skip

_DOCUMENT_INTERVAL = (
    Column("document_low", _float, "share", "Lower end of the 95 % interval that respects documents: Wilson's with the effective number of positions, from how far folds of "
           "documents differ. Missing with fewer than three folds that hold a position of the bin.", True),
    Column("document_high", _float, "share", "Upper end of the same interval.", True),
)  # fmt: skip

PROPORTION_CURVES = Table(
    "proportion_curves",
    "proportion_curves",
    "How often the token is the top prediction at each level of the neuron's activation.",
    ("layer", "neuron", "token_id", "bin_left"),
    (
        LAYER,
        NEURON,
        TOKEN_ID,
        TOKEN,
        BIN_LEFT,
        BIN_RIGHT,
        BIN_COUNT,
        Column("top_prediction_count", pl.Int64(), "position", "Of these, positions at which the token is the top prediction."),
        Column("proportion", _float, "share", "top_prediction_count / count; missing in an empty bin.", True),
        Column("ci_low", _float, "share", "Lower end of the 95 % Wilson interval, positions taken as independent.", True),
        Column("ci_high", _float, "share", "Upper end of the 95 % Wilson interval.", True),
        *_DOCUMENT_INTERVAL,
        Column("reliable", pl.Boolean(), "", "The bin has at least min_count positions."),
    ),
)

EMBEDDING_PREDICTIONS = Table(
    "embedding_predictions",
    "embedding_predictions",
    "How often each vocabulary entry is the top prediction by the embedding, as published: the largest product of W_E with the last "
    "residual stream, normalized without the final norm's gain and bias. Empty where the study does not count them.",
    ("token_id",),
    (
        TOKEN_ID,
        TOKEN,
        Column("predictions", pl.Int64(), "position", "Counted positions at which the token is the top prediction by the embedding."),
    ),
)

EMBEDDING_CURVES = Table(
    "embedding_curves",
    "embedding_predictions",
    "proportion_curves again, for the top predictions by the embedding. Empty where the study does not count them.",
    ("layer", "neuron", "token_id", "bin_left"),
    (
        LAYER,
        NEURON,
        TOKEN_ID,
        TOKEN,
        BIN_LEFT,
        BIN_RIGHT,
        BIN_COUNT,
        Column("embedding_prediction_count", pl.Int64(), "position", "Of these, positions at which the token is the top prediction by the embedding."),
    ),
)  # fmt: skip

TOKEN_NEURON_SCORES = Table(
    "token_neuron_scores",
    "token_neuron_scores",
    "How well each neuron's activation tells the positions at which a tracked token is the top prediction from all others.",
    ("token_id", "layer", "neuron"),
    (
        TOKEN_ID,
        TOKEN,
        LAYER,
        NEURON,
        Column("auroc", _float, "share", "Area under the ROC curve of the binned activation, ties counted half; 0.5 says nothing.", True),
        Column("auroc_standard_error", _float, "share", "DeLong standard error of auroc, positions taken as independent.", True),
        *_interval("auroc", "share", "auroc"),
        DIRECTION,
        SEPARATION,
        Column(
            "average_precision", _float, "share", "Area under the precision-recall steps, from the bin farthest in the direction on.", True
        ),
        *_interval("average_precision", "share", "average_precision"),
        Column("highest_proportion", _float, "share", "Largest proportion over the reliable bins; missing where no bin is reliable.", True),
        Column(
            "highest_proportion_at",
            _float,
            "activation",
            "Lower edge of that bin, the lowest of equals; in direction -1 the upper edge, which is outside the bin, of the highest.",
            True,
            is_open=True,
        ),
        Column(
            "half_activation",
            _float,
            "activation",
            "Where the proportion first reaches 1/2: lower edge of the lowest reliable bin with as much; in direction -1 the upper edge, "
            "which is outside the bin, of the highest.",
            True,
            is_open=True,
        ),
        Column(
            "recall_beyond_half",
            _float,
            "share",
            "Share of the token's top predictions from half_activation on: at or above it, in direction -1 below it.",
            True,
        ),
    ),
)

OUTCOME = Column(
    "outcome",
    pl.String(),
    "name",
    "`top_prediction`: the token is the model's top prediction; `next_token`: it comes next in the text, over positions that have a next "
    "token; `probability`: each position counts by the probability that the model gives the token.",
)
_CASES = "position"

TOKEN_OUTCOMES = Table(
    "token_outcomes",
    "outcome_scores",
    "How often each tracked token has each outcome that was counted, and which outcome leads the report for it.",
    ("token_id", "outcome"),
    (
        TOKEN_ID,
        TOKEN,
        OUTCOME,
        Column("positions", pl.Int64(), "position", "Positions that the outcome is read over."),
        Column("cases", _float, _CASES, "Of these, positions with the outcome; under probability how many are expected."),
        Column("share", _float, "share", "cases / positions."),
        Column("leads", pl.Boolean(), "", "Sentences, curves and rankings of the token are told by this outcome: the study's, or where that has fewer than min_count cases one that has them."),
    ),
)  # fmt: skip

OUTCOME_SCORES = Table(
    "outcome_scores",
    "outcome_scores",
    "token_neuron_scores again, for the outcomes beside top predictions.",
    ("outcome", "token_id", "layer", "neuron"),
    (OUTCOME, *TOKEN_NEURON_SCORES.columns),
)

OUTCOME_CURVES = Table(
    "outcome_curves",
    "proportion_curves",
    "proportion_curves again, for the outcomes beside top predictions.",
    ("outcome", "layer", "neuron", "token_id", "bin_left"),
    (
        OUTCOME,
        *PROPORTION_CURVES.columns[:6],
        Column("count", pl.Int64(), "position", "Positions in the bin that the outcome is read over."),
        Column("cases", _float, _CASES, "Of these, positions with the outcome; under probability how many are expected."),
        Column("proportion", _float, "share", "cases / count; missing in an empty bin.", True),
        Column("ci_low", _float, "share", "Lower end of the 95 % Wilson interval; missing under probability, whose spread is not counted.", True),
        Column("ci_high", _float, "share", "Upper end of the 95 % Wilson interval; missing under probability.", True),
        *_DOCUMENT_INTERVAL,
        Column("reliable", pl.Boolean(), "", "The bin has at least min_count positions."),
    ),
)  # fmt: skip

HALF_CURVES = Table(
    "half_curves",
    "proportion_curves",
    "The curves of proportion_curves and outcome_curves in either half of the documents: neurons are found in the discovery half and told by the telling half.",
    ("outcome", "layer", "neuron", "token_id", "half", "bin_left"),
    (
        OUTCOME,
        LAYER,
        NEURON,
        TOKEN_ID,
        Column("half", pl.String(), "name", "`discovery` or `telling`."),
        BIN_LEFT,
        BIN_RIGHT,
        Column("count", pl.Int64(), "position", "Positions of the half in the bin that the outcome is read over."),
        Column("cases", _float, _CASES, "Of these, positions with the outcome; under probability how many are expected."),
        Column("proportion", _float, "share", "cases / count; missing in an empty bin.", True),
        *_DOCUMENT_INTERVAL,
        Column("reliable", pl.Boolean(), "", "The bin has at least min_count positions of the half."),
    ),
)  # fmt: skip

OUTCOME_CONTRIBUTIONS = Table(
    "outcome_contributions",
    "contributions",
    "contributions again, for the outcomes beside top predictions: what every neuron adds to a token's logit where it has the outcome, and elsewhere.",
    ("outcome", "token_id", "layer", "neuron"),
    (OUTCOME, *CONTRIBUTIONS.columns),
)

CONTRASTS = Table(
    "contrasts",
    "contrasts",
    "Two tracked tokens against each other: how well every neuron tells the positions of the one from those of the other, and what it adds to the difference of their logits.",
    ("token_id", "other_id", "outcome", "layer", "neuron"),
    (
        TOKEN_ID,
        TOKEN,
        Column("other_id", pl.Int32(), "index", "Vocabulary entry of the token that it is told against."),
        Column("other", pl.String(), "text", "Text of that entry."),
        OUTCOME,
        LAYER,
        NEURON,
        Column("auroc", _float, "share", "The chance that the activation is higher at a position of the token than at one of the other, ties counted half.", True),
        Column("auroc_standard_error", _float, "share", "DeLong standard error of auroc, positions taken as independent; missing under probability.", True),
        *_interval("auroc", "share", "auroc"),
        Column("direction", pl.Int8(), "", "1: the activation is higher where the token is, auroc at least 0.5. -1: lower.", True, between=(-1, 1)),
        SEPARATION,
        Column("congruence", pl.Float32(), "dot product", "congruence with the token less that with the other, in the convention `logits`."),
        Column("contribution", _float, "logit", "Mean of what the neuron adds to the difference of the two logits at positions of the token, less that at positions of the other.", True),
        *_interval("contribution", "logit", "contribution"),
    ),
)  # fmt: skip

_DISCOVERY_CASES = Column(
    "discovery_cases", _float, _CASES, "Of these, positions with the outcome; under probability how many are expected."
)
_TELLING_CASES = Column("telling_cases", _float, _CASES, "The same of the telling half.")
_NO_LUCK = "Missing under probability, whose labels cannot be turned."

HALF_SCORES = Table(
    "half_scores",
    "half_scores",
    "Every neuron looked for in one half of the documents, the discovery half, and told in the other, the telling half, beside what luck gives.",
    ("outcome", "token_id", "layer", "neuron"),
    (
        OUTCOME,
        TOKEN_ID,
        TOKEN,
        LAYER,
        NEURON,
        Column("direction", pl.Int8(), "", "Of the discovery half: 1 where the token is at higher activations, -1 where it is at lower ones, 0 where its AUROC is one half.", True, between=(-1, 1)),
        Column("discovery_auroc", _float, "share", "auroc of the discovery half's documents.", True),
        Column("telling_auroc", _float, "share", "auroc of the telling half's documents.", True),
        Column("discovery_separation", _float, "share", "max(discovery_auroc, 1 - discovery_auroc).", True, between=(0.5, 1.0)),
        Column("telling_separation", _float, "share", "telling_auroc, read in the discovery half's direction: below 0.5 where the telling half says the opposite; 0.5 without a direction.", True),
        *_interval("telling_separation", "share", "telling_separation"),
        Column("discovery_average_precision", _float, "share", "Average precision of the discovery half, in its direction.", True),
        Column("telling_average_precision", _float, "share", "Average precision of the telling half, in the discovery half's direction.", True),
        *_interval("telling_average_precision", "share", "telling_average_precision"),
        Column("telling_highest_proportion", _float, "share", "highest_proportion of the telling half's curve: among its bins with at least min_count positions.", True),
        Column("telling_highest_proportion_at", _float, "activation", "The edge of that bin, in the discovery half's direction.", True),
        Column("telling_half_activation", _float, "activation", "half_activation of the telling half's curve, in the discovery half's direction.", True),
        Column("telling_recall_beyond_half", _float, "share", "recall_beyond_half of the same.", True),
        Column("discovery_contribution", _float, "logit", "contribution over the discovery half.", True),
        Column("telling_contribution", _float, "logit", "contribution over the telling half.", True),
        *_interval("telling_contribution", "logit", "telling_contribution"),
        Column("separation_p", _float, "share", f"How rare a telling separation as large is among all neurons where the labels of each window were turned, in the discovery half's direction. {_NO_LUCK}", True),
        Column("separation_q", _float, "share", "Benjamini-Hochberg adjusted separation_p, over all neurons, tokens and groups of the outcome: the share of false ones among the pairs with as little, at most.", True),
        Column("contribution_p", _float, "share", f"The same of telling_contribution over the width of its interval plus the width that a twentieth of the token's fall below, as large with the sign that it has in the discovery half. {_NO_LUCK}", True),
        Column("contribution_q", _float, "share", "Benjamini-Hochberg adjusted contribution_p.", True),
    ),
)  # fmt: skip

HALF_AGREEMENT = Table(
    "half_agreement",
    "half_scores",
    "How far the two halves of the documents rank all neurons alike for a token, and whether the first is beyond luck.",
    ("outcome", "token_id", "measure"),
    (
        OUTCOME,
        TOKEN_ID,
        TOKEN,
        Column("measure", pl.String(), "name", "`separation`, `average_precision` or `contribution`."),
        Column("discovery_positions", pl.Int64(), "position", "Positions of the discovery half that the outcome is read over."),
        Column("telling_positions", pl.Int64(), "position", "The same of the telling half."),
        _DISCOVERY_CASES,
        _TELLING_CASES,
        Column("rank_correlation", _float, "", "Spearman's correlation of the two halves' values over all neurons; missing where one half's do not vary.", True, between=(-1 - 1e-9, 1 + 1e-9)),
        Column("common_of_ten", pl.Int32(), "neuron", "Neurons that are among the ten largest of both halves.", True, between=(0, 10)),
        Column("largest_by_luck", _float, "of its measure", f"The largest of all neurons in the telling half where the labels of each window were turned, in whichever direction or sign suits it. {_NO_LUCK}", True),
        Column("largest", _float, "of its measure", "The largest of all neurons in the telling half, in the discovery half's direction.", True),
        Column("first_layer", pl.Int32(), "index", "Layer of the neuron that is first in the discovery half; ties to the lower layer, then neuron.", True),
        Column("first_neuron", pl.Int32(), "index", "That neuron.", True),
        Column("first_discovery", _float, "of its measure", "Its value in the discovery half, by which it was chosen.", True),
        Column("first_telling", _float, "of its measure", "Its value in the telling half, which had no say.", True),
        Column("beyond_luck", pl.Int32(), "neuron", "Neurons whose value in the telling half, in the direction or with the sign of the discovery half, is above largest_by_luck.", True),
        Column("discoveries", pl.Int32(), "neuron", "Neurons with separation_q, or contribution_q, of 0.1 at most; missing for average precision, which is not tested.", True),
    ),
)  # fmt: skip

CORPUS_GROWTH = Table(
    "corpus_growth",
    "corpus_growth",
    "The first ten neurons of a token, and where their curves reach one half, as documents are added fold by fold.",
    ("outcome", "token_id", "measure", "step", "rank"),
    (
        OUTCOME,
        TOKEN_ID,
        TOKEN,
        Column("measure", pl.String(), "name", "`separation` or `contribution`."),
        Column("step", pl.Int32(), "fold", "Folds of documents that were read, 1 to 8; 8 is the whole corpus.", between=(1, 8)),
        Column("positions", pl.Int64(), "position", "Positions of these that the outcome is read over."),
        Column("cases", _float, _CASES, "Of these, positions with the outcome; under probability how many are expected."),
        Column("rank", pl.Int32(), "index", "Place among all neurons at that step, 1 is largest; ties to the lower layer, then neuron.", between=(1, 10)),
        LAYER,
        NEURON,
        Column("value", _float, "of its measure", "Separation, or contribution, over the documents read so far."),
        Column("half_activation", _float, "activation", "half_activation of its curve over these, with the study's min_count.", True, is_open=True),
    ),
)  # fmt: skip

DOMAIN = Column("domain", pl.Int32(), "index", "Domain of the corpus, counted from 0.")

DOMAIN_SCORES = Table(
    "domain_scores",
    "domain_scores",
    "The studied neurons over the documents of each domain alone. Empty where the corpus has one domain.",
    ("outcome", "token_id", "layer", "neuron", "domain"),
    (
        OUTCOME,
        TOKEN_ID,
        TOKEN,
        LAYER,
        NEURON,
        DOMAIN,
        Column("name", pl.String(), "name", "The domain's name."),
        Column("positions", pl.Int64(), "position", "Positions of the domain that the outcome is read over."),
        Column("cases", _float, _CASES, "Of these, positions with the outcome; under probability how many are expected."),
        Column("auroc", _float, "share", "auroc over the domain.", True),
        *_interval("auroc", "share", "auroc"),
        Column("average_precision", _float, "share", "Average precision over the domain, in the direction of the whole corpus.", True),
        *_interval("average_precision", "share", "average_precision"),
        Column("contribution", _float, "logit", "contribution over the domain.", True),
        *_interval("contribution", "logit", "contribution"),
    ),
)  # fmt: skip

DOMAIN_CURVES = Table(
    "domain_curves",
    "domain_scores",
    "How often a token has the outcome at each level of a studied neuron's activation, in each domain. Empty where the corpus has one domain.",
    ("outcome", "token_id", "layer", "neuron", "domain", "bin_left"),
    (
        OUTCOME,
        TOKEN_ID,
        LAYER,
        NEURON,
        DOMAIN,
        BIN_LEFT,
        BIN_RIGHT,
        Column("count", pl.Int64(), "position", "Positions of the domain in the bin that the outcome is read over."),
        Column("cases", _float, _CASES, "Of these, positions with the outcome; under probability how many are expected."),
        Column("proportion", _float, "share", "cases / count; missing in an empty bin.", True),
    ),
)  # fmt: skip

DOMAIN_TESTS = Table(
    "domain_tests",
    "domain_scores",
    "Whether a studied neuron does the same in all domains: Welch's test of their values. Empty where the corpus has one domain.",
    ("outcome", "token_id", "layer", "neuron", "measure"),
    (
        OUTCOME,
        TOKEN_ID,
        LAYER,
        NEURON,
        Column("measure", pl.String(), "name", "`auroc` and `average_precision`, compared on the scale of log(x / (1 - x)), or `contribution`."),
        Column("statistic", _float, "", "Welch's F; missing where fewer than two domains have a value and a spread.", True),
        Column("degrees", pl.Int32(), "", "Domains compared, less one.", True),
        Column("degrees_within", _float, "", "Degrees of freedom of the spread within domains.", True),
        Column("p_value", _float, "share", "The chance of as much where domains do not differ.", True),
    ),
)  # fmt: skip

_KEPT_OUTCOME = Column(
    "outcome", pl.String(), "name", "`top_prediction`: the model predicts the token. `next_token`: it comes next in the text."
)
_KEPT = "position"

SPARSE_PROBES = Table(
    "sparse_probes",
    "sparse_probes",
    "How well logistic probes tell a token's positions: on one neuron, on a few, on a whole layer, on the residual stream. Fitted on the "
    "kept positions of the discovery half of the documents, told on the other half. Empty where the study keeps no positions.",
    ("outcome", "token_id", "kind", "size"),
    (
        _KEPT_OUTCOME,
        TOKEN_ID,
        TOKEN,
        Column(
            "kind",
            pl.String(),
            "name",
            "`neurons`: the best few of all layers. `layer`: all neurons of one. `residual`: what the final norm reads. `frequency`: guessing. "
            "A token with fewer than 20 cases in a half has the last alone.",
        ),
        Column("size", pl.Int32(), "feature", "Numbers that the probe reads at a position; 0 for `frequency`."),
        Column("layer", pl.Int32(), "index", "Layer of the kind `layer`: that of the neuron whose means differ most.", True),
        Column(
            "average_precision",
            _float,
            "share",
            "In the telling half, weighted to how often the token has the outcome in the corpus: mean share of cases among the positions with "
            "a score at least as high as a case's.",
        ),
        Column("average_precision_low", _float, "share", "Lower end of its 95 % interval from drawing documents again.", True),
        Column("average_precision_high", _float, "share", "Upper end.", True),
        Column("discovery_average_precision", _float, "share", "In the half that the probe was fitted on."),
        Column("penalty", _float, "", "Inverse strength of the L2 penalty (C); a larger one fits more closely.", True),
        Column("discovery_cases", pl.Int64(), _KEPT, "Kept positions of the discovery half that have the outcome."),
        Column("discovery_others", pl.Int64(), _KEPT, "Kept positions of the discovery half that have not."),
        Column("telling_cases", pl.Int64(), _KEPT, "Kept positions of the telling half that have the outcome."),
        Column("telling_others", pl.Int64(), _KEPT, "Kept positions of the telling half that have not."),
    ),
)

PROBE_NEURONS = Table(
    "probe_neurons",
    "sparse_probes",
    "The neurons that the sparse probes read, largest weight first.",
    ("outcome", "token_id", "size", "layer", "neuron"),
    (
        _KEPT_OUTCOME,
        TOKEN_ID,
        TOKEN,
        Column("size", pl.Int32(), "feature", "Neurons of the probe."),
        RANK,
        LAYER,
        NEURON,
        Column(
            "weight",
            _float,
            "log-odds per standard deviation",
            "What one standard deviation of the activation adds to the log-odds of the token. Its sign turns with that of a gated neuron, which is a convention.",
        ),
    ),
)

_END = Column("end", pl.String(), "name", "`high`: the highest activations, `low`: the lowest, `middle`: those between.")
_BAND = Column("band", pl.Int32(), "index", "Band of the end: 1 is the outermost, 4 the middle.")

NEURON_BANDS = Table(
    "neuron_bands",
    "neuron_behaviour",
    "The kept background positions by a studied neuron's activation there: the outermost 0.5 % at either end, from there to 2 %, to 10 %, and "
    "the middle. Positions with the same activation are in one band, the first that has room for all. Empty where the study keeps no positions.",
    ("layer", "neuron", "end", "band"),
    (
        LAYER,
        NEURON,
        _END,
        _BAND,
        Column("from_share", _float, "share", "The band begins behind this share of positions, counted from its end."),
        Column("to_share", _float, "share", "And ends at this one."),
        Column("lowest", _float, "activation", "Lowest activation in it.", is_open=True),
        Column("highest", _float, "activation", "Highest.", is_open=True),
        Column("positions", pl.Int64(), _KEPT, "Kept background positions in it."),
        Column("with_next_token", pl.Int64(), _KEPT, "Of these, those with a next token."),
        Column("documents", pl.Int64(), "document", "Documents that they come from."),
    ),
)

NEURON_BAND_TOKENS = Table(
    "neuron_band_tokens",
    "neuron_behaviour",
    "What is predicted, and what comes next, in each band of a studied neuron: the five most frequent tokens, and every tracked one.",
    ("layer", "neuron", "end", "band", "outcome", "token_id"),
    (
        LAYER,
        NEURON,
        _END,
        _BAND,
        _KEPT_OUTCOME,
        TOKEN_ID,
        TOKEN,
        Column(
            "rank",
            pl.Int32(),
            "index",
            "Place among the band's tokens, ties to the lower id; missing for a tracked token beyond the fifth.",
            True,
        ),
        Column("is_tracked", pl.Boolean(), "", "The study tracks the token."),
        Column("positions", pl.Int64(), _KEPT, "Positions of the band with the token."),
        Column("share", _float, "share", "Of the band's positions, or of those with a next token."),
        Column("share_everywhere", _float, "share", "The same of all kept background positions."),
    ),
)

ATLAS_HISTOGRAMS = Table(
    "atlas_histograms",
    "atlas",
    "Histogram of every neuron's activation over all counted positions, over the bins of activation_bins. Empty where the study asks for no atlas.",
    ("layer", "neuron"),
    (
        LAYER,
        NEURON,
        Column(
            "counts",
            pl.List(pl.Int64()),
            "position",
            "Counted positions with an activation in each bin, the lowest bin first; what lies outside the bins is in neuron_statistics.",
        ),
    ),
)

ATLAS_EXAMPLES = Table(
    "atlas_examples",
    "atlas",
    "The highest and the lowest activations of every neuron, one a document, some of the levels between, and two random places, with those around them: from 40 "
    "tokens before to 12 after, within the window. The text there is in atlas_texts.",
    ("layer", "neuron", "side", "rank"),
    (
        LAYER,
        NEURON,
        Column(
            "side",
            pl.String(),
            "name",
            "`top`: highest activations, `bottom`: lowest. `between_top`, `between_bottom`: from the levels between 0 and the highest, or lowest, octaves of the "
            "neuron's bins: of the windows whose extreme is in the octave one drawn by a seeded hash, shown at its extreme; those at most 0.75 of the neuron's own "
            "extreme that are not among its highest and lowest. `random`: places of the whole corpus drawn by a seeded hash, the same for all neurons.",
        ),
        Column(
            "rank", pl.Int32(), "index", "Place on the side, 1 is the highest or lowest, of the levels between the one farthest from 0."
        ),
        DOCUMENT,
        WINDOW_IN_DOCUMENT,
        Column("position", pl.Int32(), "index", "Position of the example in the window; the beginning-of-sequence token is 0."),
        Column("activation", pl.Float32(), "activation", "The activation there, as counted in the one pass.", is_open=True),
        Column(
            "first_position",
            pl.Int32(),
            "index",
            "Position in the window of the first token that is shown, 40 before the example or the window's first.",
        ),
        Column(
            "activations",
            pl.List(pl.Float32()),
            "activation",
            "The neuron's activation there and at the tokens behind it, with the three digits of half precision.",
        ),
    ),
)

ATLAS_TEXTS = Table(
    "atlas_texts",
    "atlas",
    "The text around the examples of the atlas: windows of the corpus in pieces of 64 positions, those that an example reaches into.",
    ("document", "window_in_document", "first_position"),
    (
        DOCUMENT,
        WINDOW_IN_DOCUMENT,
        Column("first_position", pl.Int32(), "index", "Position in the window of the piece's first token, a multiple of 64."),
        Column(
            "token_ids", pl.List(pl.Int32()), "index", "The piece's tokens, as entries of the vocabulary; 64, but at the end of a window."
        ),
        Column("prediction_ids", pl.List(pl.Int32()), "index", "The model's top prediction after each of them."),
    ),
)

ATLAS_TOKENS = Table(
    "atlas_tokens",
    "atlas",
    "Of every neuron the screened tokens that go with its activation: where the model predicts them, or where they stand, it is higher, or lower, than "
    "elsewhere. At most five at either end by either, of those with at least min_count positions. Empty where the screen is off.",
    ("layer", "neuron", "by", "end", "rank"),
    (
        LAYER,
        NEURON,
        Column(
            "by",
            pl.String(),
            "name",
            "`predicted`: positions at which the token is the model's top prediction. `current`: those that hold it.",
        ),
        Column("end", pl.String(), "name", "`high`: higher at the token's positions. `low`: lower."),
        Column(
            "rank", pl.Int32(), "index", "Place by standardized_difference at the end, 1 is furthest from 0; ties to the lower token id."
        ),
        TOKEN_ID,
        TOKEN,
        Column("positions", pl.Int64(), "position", "Counted positions of the token, by predicted or by current token."),
        Column("mean_there", _float, "activation", "Mean activation over these positions."),
        _MEAN_ELSEWHERE,
        Column(
            "standardized_difference",
            _float,
            "standard deviations",
            "(mean_there - mean_elsewhere) / pooled standard deviation, which is the root of the sum of squares within the two groups / (positions of "
            "the corpus - 2). Missing where the neuron varies within neither group.",
            True,
        ),
    ),
)

ATLAS_NEIGHBOURS = Table(
    "atlas_neighbours",
    "atlas",
    "Of every neuron the neurons most like it, over all layers, and those most opposite: whose activation goes with its own, whose weights write alike, "
    "and whose weights read alike. A neuron that does not vary over the sample, or whose weights are 0, has none; where the study keeps no positions, none go together.",
    ("layer", "neuron", "kind", "end", "rank"),
    (
        LAYER,
        NEURON,
        Column(
            "kind",
            pl.String(),
            "name",
            "`together`: correlation of the activations over a seeded sample of at most 1,024 counted positions, in half precision. `writes`: cosine of the output weights, "
            "with the norm behind the MLP. `reads`: cosine of the input weights, of a gated MLP the gate's, with the gain of the norm before it.",
        ),
        Column("end", pl.String(), "name", "`alike`: likeness above 0. `opposite`: below 0."),
        Column(
            "rank", pl.Int32(), "index", "Place by the size of the likeness at the end, 1 is largest; ties to the lower layer and neuron."
        ),
        Column("other_layer", pl.Int32(), "index", "Layer of the neighbour."),
        Column("other_neuron", pl.Int32(), "index", "The neighbour, in its layer."),
        Column("likeness", pl.Float32(), "correlation", "Pearson's correlation or the cosine, as the kind says.", between=(-1, 1)),
    ),
)

NEURON_CONTEXTS = Table(
    "neuron_contexts",
    "neuron_contexts",
    "The text around the highest and lowest activations of the studied neurons (one context a document) and around random positions.",
    ("layer", "neuron", "side", "rank", "position"),
    (
        LAYER,
        NEURON,
        Column(
            "side",
            pl.String(),
            "name",
            "`top` (highest activations), `bottom` (lowest) or `random`: drawn from all counted positions, each as likely as any other.",
        ),
        RANK,
        DOCUMENT,
        WINDOW_IN_DOCUMENT,
        Column("peak_position", pl.Int32(), "index", "Position of the extreme activation, or the one drawn, in the window."),
        Column("peak_activation", pl.Float32(), "activation", "The activation there; an extreme one as counted in the one pass."),
        POSITION,
        TOKEN_ID,
        TOKEN,
        Column("activation", pl.Float32(), "activation", "The neuron's activation at this position."),
        Column("prediction_id", pl.Int32(), "index", "The model's top prediction after this position."),
        Column("prediction", pl.String(), "text", "The same, as text."),
    ),
)

_SIDE = Column(
    "side", pl.String(), "name", "`output`: what the neuron writes (W_out). `input`: what it reads (W_in; the gate of a gated MLP)."
)
_CORRECTED = Column(
    "corrected",
    pl.Float32(),
    "deviation",
    "Congruence (convention `logits`) beyond what neuron and token bring along: less the neuron's mean over the vocabulary, in its deviations "
    "over the vocabulary; less the token's mean of that over neurons, unless the MLP is gated. A gated neuron's counts by size.",
)
_GAP = Column("gap", pl.Float32(), "as congruence", "Lead of this row over the next in rank; missing in the last row.", True)

CONGRUENCE_TOKENS = Table(
    "congruence_tokens",
    "congruence",
    "For each token of the vocabulary, the neurons that write it most strongly.",
    ("convention", "token_id", "rank"),
    (CONVENTION, TOKEN_ID, TOKEN, RANK, LAYER, NEURON, CONGRUENCE, _GAP),
)

CONGRUENCE_NEURONS = Table(
    "congruence_neurons",
    "congruence",
    "For each neuron, the tokens that it writes most strongly (`top`) and against most strongly (`bottom`).",
    ("convention", "layer", "neuron", "end", "rank"),
    (
        CONVENTION,
        LAYER,
        NEURON,
        Column("end", pl.String(), "name", "`top` or `bottom`."),
        RANK,
        TOKEN_ID,
        TOKEN,
        CONGRUENCE,
        _GAP,
    ),
)

CONGRUENCE_READS = Table(
    "congruence_reads",
    "congruence",
    "For each neuron, the tokens whose embedding its input weights like most (`top`) and least (`bottom`), three at either end.",
    ("layer", "neuron", "end", "rank"),
    (
        LAYER,
        NEURON,
        Column("end", pl.String(), "name", "`top` or `bottom`."),
        RANK,
        TOKEN_ID,
        TOKEN,
        Column(
            "congruence",
            pl.Float32(),
            "dot product",
            "Input weights (W_in; the gate of a gated MLP), with the gain of the norm before the MLP, times the token's embedding W_E; the norm's scale is left "
            "out.",
        ),
    ),
)

CONGRUENCE_TRACKED_TOKENS = Table(
    "congruence_tracked_tokens",
    "congruence",
    "The whole row of each tracked token: every neuron of every layer.",
    ("convention", "side", "token_id", "layer", "neuron"),
    (CONVENTION, _SIDE, TOKEN_ID, TOKEN, LAYER, NEURON, CONGRUENCE, replace(_CORRECTED, nullable=True,
     description=f"{_CORRECTED.description} Missing on the input side and in the convention `published`.")),
)  # fmt: skip

CONGRUENCE_NEURONS_OF_INTEREST = Table(
    "congruence_neurons_of_interest",
    "congruence",
    "The whole row of each neuron of interest: every token of the vocabulary.",
    ("convention", "side", "layer", "neuron", "token_id"),
    (CONVENTION, _SIDE, LAYER, NEURON, TOKEN_ID, TOKEN, CONGRUENCE),
)

CONGRUENCE_MUTUAL_PAIRS = Table(
    "congruence_mutual_pairs",
    "congruence",
    "Pairs in which the neuron is the token's best neuron and the token the neuron's best token.",
    ("convention", "token_id", "layer", "neuron"),
    (
        CONVENTION,
        TOKEN_ID,
        TOKEN,
        LAYER,
        NEURON,
        CONGRUENCE,
        Column("token_gap", pl.Float32(), "as congruence", "Lead over the token's second neuron."),
        Column("neuron_gap", pl.Float32(), "as congruence", "Lead over the neuron's second token."),
        Column("score", pl.Float32(), "squared", "token_gap x neuron_gap."),
    ),
)

_MEASURE = Column(
    "measure", pl.String(), "name", "`plain`: congruence in the convention `logits`; `corrected`: `corrected`. Both by size in gated MLPs."
)

STRONGEST_NEURONS = Table(
    "strongest_neurons",
    "congruence",
    "Each token's strongest neuron by congruence as it is, and by congruence corrected by neuron and by token.",
    ("measure", "token_id"),
    (
        _MEASURE,
        TOKEN_ID,
        TOKEN,
        LAYER,
        NEURON,
        CONGRUENCE_LOGITS,
        _CORRECTED,
        Column("gap", pl.Float32(), "as the measure", "Lead over the token's second neuron; missing where there is no second.", True),
        Column("is_mutual", pl.Boolean(), "", "The token is the neuron's strongest token too, by the same measure."),
    ),
)

CORRECTED_MUTUAL_PAIRS = Table(
    "corrected_mutual_pairs",
    "congruence",
    "Pairs in which the neuron is the token's strongest neuron and the token the neuron's strongest token, by congruence corrected by neuron and by token.",
    ("token_id",),
    (
        TOKEN_ID,
        TOKEN,
        LAYER,
        NEURON,
        CONGRUENCE_LOGITS,
        _CORRECTED,
        Column("token_gap", pl.Float32(), "deviation", "Lead over the token's second neuron."),
        Column("neuron_gap", pl.Float32(), "deviation", "Lead over the neuron's second token."),
        Column("score", pl.Float32(), "squared", "token_gap x neuron_gap."),
        Column("is_mutual_before", pl.Boolean(), "", "They choose each other by congruence as it is, too."),
    ),
)

CONGRUENCE_HUBS = Table(
    "congruence_hubs",
    "congruence",
    "Hubs: the neurons that are the strongest of most tokens, the first ten by congruence as it is and the first ten by congruence corrected.",
    ("layer", "neuron"),
    (
        LAYER,
        NEURON,
        *(
            column
            for measure in ("plain", "corrected")
            for column in (
                Column(f"{measure}_rank", pl.Int32(), "index", f"Place by {measure}_tokens, 1 is most, ties to the lower layer, then neuron; "
                       "missing for a neuron that is no token's strongest.", True),
                Column(f"{measure}_tokens", pl.Int64(), "token", f"Tokens whose strongest neuron it is by the measure `{measure}` (strongest_neurons)."),
                Column(f"{measure}_share", pl.Float64(), "share", f"{measure}_tokens / all ranked tokens."),
            )
        ),
    ),
)  # fmt: skip

CONGRUENCE_AGREEMENT = Table(
    "congruence_agreement",
    "congruence_agreement",
    "Whether the neuron that the weights name for a token also moves its logit where the model predicts it: pairs by congruence that stand at an end of contribution_screen.",
    ("measure", "pairs_of"),
    (
        Column("measure", pl.String(), "name", "`published`: congruence in the convention `published` as the post ranks it (not in gated MLPs, whose signs "
               "are a convention); `plain` and `corrected` as in strongest_neurons."),
        Column("pairs_of", pl.String(), "name", "`strongest`: every token with its strongest neuron; `mutual`: those that choose each other."),
        Column("pairs", pl.Int64(), "pair", "Pairs."),
        Column("told", pl.Int64(), "pair", "Of these, pairs whose token is screened and predicted at least min_count times."),
        Column("first_writer", pl.Int64(), "pair", "Of these, pairs whose neuron has the largest contribution to the token."),
        Column("among_writers", pl.Int64(), "pair", "Of those told, pairs whose neuron is among the ten that write the token most."),
        Column("first_against", pl.Int64(), "pair", "Of those told, pairs whose neuron writes most against the token where it is predicted."),
        Column("among_against", pl.Int64(), "pair", "Of those told, pairs whose neuron is among the ten that write most against it."),
    ),
)  # fmt: skip

PROMPT_TOKENS = Table(
    "prompt_tokens",
    "prompt_predictions",
    "The prompts as the model reads them.",
    ("prompt", "variant", "position"),
    (PROMPT, VARIANT, POSITION, TOKEN_ID, TOKEN),
)

PROMPT_PREDICTIONS = Table(
    "prompt_predictions",
    "prompt_predictions",
    "The model's most probable next tokens after each prompt, and the answers wherever they rank.",
    ("prompt", "variant", "token_id"),
    (
        PROMPT,
        VARIANT,
        RANK,
        TOKEN_ID,
        TOKEN,
        Column("logit", _float, "logit", "The model's own logit."),
        Column(
            "centred_logit", _float, "logit", "logit less the mean logit of the vocabulary, as a centred unembedding (the post's) gives it."
        ),
        Column("probability", _float, "share", "Softmax over the vocabulary."),
        Column("role", pl.String(), "name", "`answer`, `wrong_answer` or `other`."),
    ),
)

LOGIT_LENS = Table(
    "logit_lens",
    "logit_lens",
    "What the residual stream at the last position would predict if the model ended there.",
    ("prompt", "variant", "scale", "layer", "point"),
    (
        PROMPT,
        VARIANT,
        Column(
            "scale",
            pl.String(),
            "name",
            "`own`: the final norm is applied to this point. `final`: its scale is the one of the last layer. "
            "`published`: as `final`, without the norm's bias, as the post did. All before any cap of the logits.",
        ),
        LAYER,
        Column("point", pl.String(), "name", "`before` the block, after its `attention`, after its `mlp`."),
        Column("answer_logit", _float, "logit", "Logit of the answer."),
        Column("wrong_answer_logit", _float, "logit", "Logit of the wrong answer."),
        Column("difference", _float, "logit", "answer_logit - wrong_answer_logit."),
    ),
)

ACTIVATION_PATCHING = Table(
    "activation_patching",
    "activation_patching",
    "One component's output at one layer and position, taken from the clean run into the corrupt run.",
    ("prompt", "component", "layer", "head", "position"),
    (
        PROMPT,
        Column(
            "component",
            pl.String(),
            "name",
            "`residual` (before the block), `attention` or `mlp` (their outputs), or `head`: what one head adds to the attention's output.",
        ),
        LAYER,
        Column("head", pl.Int32(), "index", "Attention head (query head), counted from 0; missing for other components.", True),
        POSITION,
        TOKEN,
        Column("difference", _float, "logit", "Logit difference answer - wrong answer of the patched run."),
        IMPROVEMENT,
    ),
)

NEURON_PATCHING = Table(
    "neuron_patching",
    "neuron_patching",
    "One neuron's activation taken from the clean run into the corrupt run.",
    ("prompt", "positions", "layer", "neuron"),
    (
        PROMPT,
        Column("positions", pl.String(), "name", "`all` positions of the prompt (as published) or the `last` one only."),
        LAYER,
        NEURON,
        Column("clean_activation", pl.Float32(), "activation", "At the last position of the clean prompt."),
        Column("corrupt_activation", pl.Float32(), "activation", "At the last position of the corrupt prompt."),
        Column(
            "difference",
            _float,
            "logit",
            "Logit difference answer - wrong answer of the patched run; where it is linear in the patch to within rounding (2e-6 of the largest "
            "logit), by its gradient.",
        ),
        IMPROVEMENT,
    ),
)

PATCHED_NEURON_SETS = Table(
    "patched_neuron_sets",
    "patched_neuron_sets",
    "Neurons whose activations at the last position are taken from the clean run into the corrupt run together. A set of one size holds the neurons of "
    "the rows up to that size: each is the one that restores most with those before it, of the 50 that restore most by themselves.",
    ("prompt", "size"),
    (
        PROMPT,
        Column("size", pl.Int32(), "neuron", "Neurons patched together: this one and those of smaller size.", between=(1, 10)),
        LAYER,
        NEURON,
        Column("alone", _float, "of the difference", "What the neuron restores by itself: its `improvement` in neuron_patching."),
        Column(
            "restored",
            _float,
            "of the difference",
            "What the set restores, in one run: (patched - corrupt) / (clean - corrupt) of the logit difference.",
        ),
        Column("added", _float, "of the difference", "restored less that of the set before; at least 0.01."),
        Column(
            "is_told",
            pl.Boolean(),
            "",
            "The neuron belongs to the smallest set that restores 90 % of what the largest restores, and to its first four neurons.",
        ),
    ),
)

_MANY = (1, 10**9)

PROMPT_SET = Column("prompt_set", pl.String(), "name", "Name of the prompt set in the study.")
_ANSWERS = (
    Column("answer", pl.String(), "text", "The answer's token as it reads inside running text."),
    Column("wrong_answer", pl.String(), "text", "The wrong answer's token, likewise."),
)

PROMPT_SETS = Table(
    "prompt_sets",
    "prompt_set_patching",
    "Each prompt set: a text with a slot, how many pairs its fillers make, and how many of them were patched.",
    ("prompt_set",),
    (
        PROMPT_SET,
        Column("text", pl.String(), "text", "The text with its slot in braces, as the study gives it."),
        *_ANSWERS,
        Column("answer_id", pl.Int32(), "index", "The answer's entry of the model's vocabulary."),
        Column("wrong_answer_id", pl.Int32(), "index", "The wrong answer's."),
        Column("fillers", pl.Int32(), "filler", "Fillers after which the answer is due.", between=_MANY),
        Column("corrupt_fillers", pl.Int32(), "filler", "Fillers after which the wrong answer is due.", between=_MANY),
        Column(
            "of_equal_length",
            pl.Int32(),
            "pair",
            "Pairs of a filler and a corrupt filler with the same number of tokens.",
            between=_MANY,
        ),
        Column("drawn", pl.Int32(), "pair", "Of these, the pairs that were drawn: all, or as many as the study allows.", between=(1, 512)),
        Column(
            "patched", pl.Int32(), "pair", "Of these, the pairs that were patched: those whose logit difference changes.", between=(1, 512)
        ),
    ),
)

PROMPT_SET_PAIRS = Table(
    "prompt_set_pairs",
    "prompt_set_patching",
    "Each drawn pair of a prompt set: its texts, what the model makes of them, and the neuron that restores most of it alone.",
    ("prompt_set", "pair"),
    (
        PROMPT_SET,
        Column("pair", pl.Int32(), "index", "Pair of the set, counted from 0 in the order of the lists of fillers."),
        Column("filler", pl.String(), "text", "What stands in the slot of the clean text."),
        Column("corrupt_filler", pl.String(), "text", "What stands there in the corrupt text."),
        Column("text", pl.String(), "text", "The clean prompt."),
        Column("corrupt", pl.String(), "text", "The corrupt prompt."),
        *_ANSWERS,
        Column("clean_difference", _float, "logit", "Logit difference answer - wrong answer of the clean run."),
        Column("corrupt_difference", _float, "logit", "The same of the corrupt run."),
        Column(
            "prefers_both",
            pl.Boolean(),
            "",
            "The model prefers the answer after the clean prompt and the wrong answer after the corrupt one.",
        ),
        Column("is_patched", pl.Boolean(), "", "The pair was patched: the two logit differences are more than rounding apart."),
        replace(LAYER, description="Layer of the neuron that restores most alone; missing where the pair was not patched.", nullable=True),
        replace(NEURON, description="That neuron, counted from 0; of equals the first.", nullable=True),
        replace(IMPROVEMENT, description="What it restores: its `improvement`, as in neuron_patching at the last position.", nullable=True),
    ),
)

PROMPT_SET_PATCHING = Table(
    "prompt_set_patching",
    "prompt_set_patching",
    "What one neuron restores alone over the pairs of a prompt set: its activation at the last position taken from the clean run into the corrupt run, "
    "as in neuron_patching, once for each pair that was patched.",
    ("prompt_set", "layer", "neuron"),
    (
        PROMPT_SET,
        LAYER,
        NEURON,
        Column("pairs", pl.Int32(), "pair", "Pairs that were patched: `patched` of prompt_sets.", between=(1, 512)),
        Column("median", _float, "of the difference", "Median over the pairs of the neuron's `improvement`."),
        Column("lower_quartile", _float, "of the difference", "A quarter of the pairs lie below it, by linear interpolation."),
        Column("upper_quartile", _float, "of the difference", "A quarter of the pairs lie above it, likewise."),
        Column(
            "first_ten_share",
            _float,
            "share",
            "Share of the pairs in which it is one of the ten neurons that restore most, and restores anything; of equals the first.",
        ),
    ),
)

ATTRIBUTION_PATCHING = Table(
    "attribution_patching",
    "neuron_patching",
    "First-order estimate of neuron_patching from one gradient: (clean - corrupt activation) x d difference / d activation.",
    ("prompt", "positions", "layer", "neuron"),
    (
        PROMPT,
        Column("positions", pl.String(), "name", "`all` positions of the prompt or the `last` one only."),
        LAYER,
        NEURON,
        Column(
            "attribution",
            pl.Float32(),
            "of the difference",
            "Estimate of `improvement` in neuron_patching; the gradient is the corrupt run's.",
        ),
    ),
)

PROMPT_ACTIVATIONS = Table(
    "prompt_activations",
    "prompt_activations",
    "The studied neurons' activations at each token of the prompts.",
    ("layer", "neuron", "prompt", "variant", "position"),
    (
        LAYER,
        NEURON,
        PROMPT,
        VARIANT,
        POSITION,
        TOKEN_ID,
        TOKEN,
        Column("activation", pl.Float32(), "activation", "The neuron's activation at this position."),
        Column("prediction_id", pl.Int32(), "index", "The model's top prediction after this position."),
        Column("prediction", pl.String(), "text", "The same, as text."),
    ),
)

_ABLATION = Column(
    "ablation",
    pl.String(),
    "name",
    "What the activation is replaced with: `zero`; `mean`, the corpus mean; `resample`, the neuron's activation at a random position of "
    "another document; `negation`, as published: minus itself, which is no ablation, it writes the opposite.",
)
_POSITIONS = Column(
    "positions",
    pl.String(),
    "name",
    "`predicted`: the token is the top prediction. `next_token`: it is the next token of the text; taken instead of the former for a token "
    "that is hardly ever predicted. `other`: it is not predicted (and, beside `next_token`, does not follow); drawn from the same windows, "
    "one for each of the token's own positions.",
)
_MEASURES = (
    ("log_probability", "nat", "Change of the token's log-probability."),
    ("flipped", "share", "Share of positions at which the top prediction becomes another token."),
    ("loss", "nat", "Change of the loss on the token that really follows."),
    ("logit", "logit", "Change of the token's logit: direct + mediated."),
    ("direct", "logit", "Its direct part: through the final norm to the unembedding, later blocks writing what they wrote."),
    ("mediated", "logit", "Its rest: what later blocks write differently."),
)

NEURON_ABLATION = Table(
    "neuron_ablation",
    "neuron_ablation",
    "What replacing the neuron's activation, at one position at a time, changes there; means over positions of the corpus.",
    ("token_id", "layer", "neuron", "positions", "ablation", "measure"),
    (
        TOKEN_ID,
        TOKEN,
        LAYER,
        NEURON,
        _POSITIONS,
        _ABLATION,
        Column("measure", pl.String(), "name", "; ".join(f"`{name}` ({unit}): {text}" for name, unit, text in _MEASURES)),
        Column("effect", _float, "of the measure", "Mean over the positions, after minus before."),
        Column("ci_low", _float, "of the measure", "Lower end of the 95 % interval from drawing documents again; missing below two.", True),
        Column("ci_high", _float, "of the measure", "Upper end of the 95 % interval.", True),
        Column(
            "p_value",
            _float,
            "share",
            "How rare a compared_effect at least as far from 0 is among control neurons: counted or, where hardly any control goes as far, by "
            "the tail of their effects; p_value_source says which.",
        ),
        Column(
            "p_value_source",
            pl.String(),
            "name",
            "`counted`: (1 + controls at least as far from 0) / (1 + controls). `tail`: a Pareto tail through the largest eighth of the "
            "controls' effects (at least five), with what so few leave uncertain. `floor`: 1 / (1 + controls)^2, the least that is told; the tail gives less.",
        ),
        Column(
            "q_value",
            _float,
            "share",
            "p_value corrected for how many pairs were looked at (Benjamini-Hochberg): over all studied pairs of token and neuron, each with "
            "one row of the same ablation and measure, at the token's own positions (`predicted` or `next_token`) or all at `other` ones. "
            "Sentences tell the log-probability under `mean` at the token's own positions: their q is corrected over the pairs told so.",
        ),
        Column(
            "times_largest_control",
            _float,
            "multiple",
            "Size of the compared_effect over that of the largest control's; missing where no control has an effect.",
            True,
        ),
        Column(
            "controls",
            pl.Int32(),
            "neuron",
            "Control neurons: same layer, nearest in output norm and share of positions above 0. The first 25, in a seeded order, where at least "
            "8 of these change the log-probability as much under `mean` at the token's own positions; else all, up to 100.",
        ),
        Column("position_count", pl.Int32(), "position", "Positions that the effect and its interval are over."),
        Column("document_count", pl.Int32(), "document", "Documents that these come from."),
        Column("compared_positions", pl.Int32(), "position", "Positions among these, up to 16, at which the controls are ablated too."),
        Column(
            "compared_effect",
            _float,
            "of the measure",
            "Mean over the positions compared: what p_value and times_largest_control set beside the controls' means over the same positions.",
        ),
    ),
)

ABLATION_CONTROLS = Table(
    "ablation_controls",
    "neuron_ablation",
    "Means over the positions compared for each control neuron that was drawn for a pair.",
    ("token_id", "layer", "neuron", "positions", "ablation", "control"),
    (
        TOKEN_ID,
        LAYER,
        NEURON,
        _POSITIONS,
        _ABLATION,
        Column("control", pl.Int32(), "index", "The control neuron, of the same layer."),
        Column("output_norm", _float, "length", "Length of the control's output weights."),
        Column("share_above_zero", _float, "share", "Share of counted positions at which the control's activation is above 0."),
        Column("neuron_output_norm", _float, "length", "Length of the neuron's own output weights."),
        Column("neuron_share_above_zero", _float, "share", "Share of counted positions at which the neuron's own activation is above 0."),
        *(Column(name, _float, unit, text) for name, unit, text in _MEASURES),
    ),
)

PROMPT_ABLATION = Table(
    "prompt_ablation",
    "prompt_ablation",
    "Probabilities of the tracked tokens after each prompt, before and after a studied neuron is ablated.",
    ("prompt", "variant", "positions", "layer", "neuron", "ablation", "token_id"),
    (
        PROMPT,
        VARIANT,
        Column("positions", pl.String(), "name", "Ablated at `all` positions of the prompt or at the `last` one only."),
        LAYER,
        NEURON,
        Column(
            "ablation",
            pl.String(),
            "name",
            f"{_ABLATION.description} Also as published: `input negation`, the neuron's input weights times -1 (of a gated MLP, the "
            "gate's); `folded input negation`, the same with the norm's gain and bias folded into them and the neuron's bias.",
        ),
        TOKEN_ID,
        TOKEN,
        Column("before", _float, "share", "Probability of the token after the prompt."),
        Column("after", _float, "share", "The same with the neuron ablated."),
    ),
)

_CONTEXT = (
    Column("prompt", pl.String(), "name", "Name of the prompt, read at its last position; empty for the neuron's top contexts."),
    Column("variant", pl.String(), "name", "`clean`, `corrupt` or `top contexts` (mean over the neuron's highest activating positions)."),
)
_SOURCE_LAYER = Column("source_layer", pl.Int32(), "index", "Block of the component; missing for the embedding and the bias.", True)
_CONTEXTS = Column("contexts", pl.Int32(), "context", "How many contexts the value is the mean of.")

NEURON_INPUTS = Table(
    "neuron_inputs",
    "neuron_inputs",
    "What feeds each studied neuron: its pre-activation (of a gated MLP, the gate's) as a sum over all components before it.",
    ("layer", "neuron", "prompt", "variant", "component", "source_layer", "head"),
    (
        LAYER,
        NEURON,
        *_CONTEXT,
        Column(
            "component", pl.String(), "name", "`embedding` (with positions), `head`, `attention bias`, `mlp`, or `bias` of norm and neuron."
        ),
        _SOURCE_LAYER,
        Column("head", pl.Int32(), "index", "Attention head; missing for other components.", True),
        Column("contribution", _float, "pre-activation", "Folded input weights . the component's output / the norm's actual scale."),
        _CONTEXTS,
    ),
)

NEURON_RESIDUAL_READS = Table(
    "neuron_residual_reads",
    "neuron_inputs",
    "The studied neurons' input weights against the residual stream after each component, along the layers up to their own.",
    ("layer", "neuron", "prompt", "variant", "source_layer", "point"),
    (
        LAYER,
        NEURON,
        *_CONTEXT,
        Column("source_layer", pl.Int32(), "index", "Block of the point."),
        Column("point", pl.String(), "name", "`before` the block, after its `attention`, after its `mlp`."),
        Column(
            "read",
            _float,
            "pre-activation",
            "Folded input weights . stream / the norm's actual scale; the last one and the bias are the pre-activation.",
        ),
        _CONTEXTS,
    ),
)

REPLICATION_SCORECARD = Table(
    "replication_scorecard",
    "replication_scorecard",
    "Every claim of the study's claims file, what was observed by the post's convention and by the right one, and the verdict.",
    ("row",),
    (
        Column("row", pl.Int32(), "index", "Place of the claim in the file, counted from 0."),
        Column("claim", pl.String(), "text", "The claim as a sentence."),
        Column("source", pl.String(), "text", "Where it was published."),
        Column("quantity", pl.String(), "name", "What is claimed; docs/claims.md lists the quantities."),
        Column("meaning", pl.String(), "text", "The quantity in words."),
        Column("subject", pl.String(), "text", "Of which prompt, token, neuron or place."),
        Column("unit", pl.String(), "name", "Unit of expected, tolerance and the observed values."),
        Column("convention", pl.String(), "name", "`published` or `correct`: which observed value the expected one is compared with."),
        Column("expected", _float, "see unit", "The claimed value."),
        Column("tolerance", _float, "see unit", "How far the observed value may be from it."),
        Column("conventions_differ", pl.Boolean(), "", "Whether the two conventions compute the quantity in different ways."),
        Column("published_way", pl.String(), "text", "What the post's convention does; empty where the two are one."),
        Column("observed_published", _float, "see unit", "By the post's convention; missing where there is no such value.", True),
        Column("reason_published", pl.String(), "text", "Why it is missing.", True),
        Column("correct_way", pl.String(), "text", "What the right convention does; empty where the two are one."),
        Column("observed_correct", _float, "see unit", "By the right convention; missing where there is no such value.", True),
        Column("reason_correct", pl.String(), "text", "Why it is missing.", True),
        Column("verdict", pl.String(), "name", "`replicated`, `not replicated` or `not run`."),
    ),
)

DATA_QUALITY = Table(
    "data_quality",
    "data_quality",
    "What was checked of every output, what was expected and what was observed.",
    ("asset", "check", "expectation"),
    (
        Column("asset", pl.String(), "name", "The output that was checked."),
        Column("check", pl.String(), "name", "The suite of expectations."),
        Column("expectation", pl.String(), "text", "What must hold."),
        Column("severity", pl.String(), "name", "`blocking` (nothing is published if it fails) or `warning`."),
        Column("passed", pl.Boolean(), "", "Whether it holds."),
        Column("expected", pl.String(), "text", "The value or range that is allowed."),
        Column("observed", pl.String(), "text", "What was found."),
    ),
)

EVIDENCE_CARDS = Table(
    "evidence_cards",
    "evidence_cards",
    "Of each studied pair of token and neuron every line of evidence: supported, against, unclear or not measured, with its number. By the outcome that "
    "leads for the token.",
    ("token_id", "layer", "neuron", "line"),
    (
        TOKEN_ID,
        TOKEN,
        Column("outcome", pl.String(), "name", "The outcome that leads for the token."),
        LAYER,
        NEURON,
        Column("line", pl.String(), "name", "The line of evidence; what each means and how it can mislead is in docs/evidence.md."),
        Column("verdict", pl.String(), "name", "`supported`, `against`, `unclear` (measured, and neither) or `not measured`."),
        Column("value", _float, "of the line", "The number behind the verdict.", True),
        Column("low", _float, "of the line", "Lower end of its 95 % interval.", True),
        Column("high", _float, "of the line", "Upper end of its 95 % interval.", True),
        Column("detail", pl.String(), "text", "What else is told of it: the prompt, p and q, the tokens beside this one."),
    ),
)

TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        MODEL_SNAPSHOT, TRACKED_TOKENS, TOKEN_GROUPS, CORPUS_DOCUMENTS, CORPUS_DOMAINS, CORPUS_FILES, TOKEN_WINDOWS, POSITION_PREDICTIONS, MODEL_PARITY, ACTIVATION_BINS, TOKEN_COUNTS, NEURON_STATISTICS,
        TOKEN_NEURON_SCORES, SCREENED_TOKENS, TOKEN_NEURON_SCREEN, CONTRIBUTIONS, CONTRIBUTION_SCREEN, PROPOSED_PAIRS, CANDIDATES, PROPORTION_CURVES, EMBEDDING_PREDICTIONS, EMBEDDING_CURVES, TOKEN_OUTCOMES, OUTCOME_SCORES, OUTCOME_CURVES, HALF_CURVES, OUTCOME_CONTRIBUTIONS, CONTRASTS, SPARSE_PROBES, PROBE_NEURONS, NEURON_BANDS, NEURON_BAND_TOKENS, NEURON_CONTEXTS,
        ATLAS_HISTOGRAMS, ATLAS_EXAMPLES, ATLAS_TEXTS, ATLAS_TOKENS, ATLAS_NEIGHBOURS,
        HALF_SCORES, HALF_AGREEMENT, CORPUS_GROWTH, DOMAIN_SCORES, DOMAIN_CURVES, DOMAIN_TESTS,
        CONGRUENCE_TOKENS, CONGRUENCE_NEURONS, CONGRUENCE_TRACKED_TOKENS, CONGRUENCE_NEURONS_OF_INTEREST, CONGRUENCE_MUTUAL_PAIRS,
        STRONGEST_NEURONS, CORRECTED_MUTUAL_PAIRS, CONGRUENCE_HUBS, CONGRUENCE_READS, CONGRUENCE_AGREEMENT, PROMPT_TOKENS,
        PROMPT_PREDICTIONS, LOGIT_LENS, ACTIVATION_PATCHING, NEURON_PATCHING, ATTRIBUTION_PATCHING, PATCHED_NEURON_SETS, PROMPT_SETS, PROMPT_SET_PAIRS,
        PROMPT_SET_PATCHING, PROMPT_ACTIVATIONS, NEURON_INPUTS, NEURON_RESIDUAL_READS,
        NEURON_ABLATION, ABLATION_CONTROLS, PROMPT_ABLATION, EVIDENCE_CARDS, REPLICATION_SCORECARD, DATA_QUALITY,
    )
}  # fmt: skip

_STUDY = Column("study", pl.String(), "name", "Name of the study.")
_RANK_BY = "Place among the model's neurons by it, ties sharing the better one; 1 is best."

ACROSS_MODELS_STUDIES = Table(
    "across_models_studies",
    "across_models",
    "Every study that was looked at, with what was run, or why it is not compared.",
    ("study",),
    (
        _STUDY,
        Column("question", pl.String(), "text", "What the study asks."),
        Column("state", pl.String(), "name", "`compared`, `not materialized`, `stale`, or `no study file`."),
        Column("reason", pl.String(), "text", "Why it is not compared; empty where it is.", True),
        Column("model", pl.String(), "name", "Hub id or folder of the model, as the study gives it.", True),
        Column("commit", pl.String(), "name", "The hub's commit, or `local folder`.", True),
        Column("architecture", pl.String(), "name", "Class of the model.", True),
        Column("layers", pl.Int32(), "layer", "Transformer blocks.", True),
        Column("neurons", pl.Int32(), "neuron", "Neurons of each block.", True),
        Column("corpus", pl.String(), "name", "Hub id or files of the corpus, as the study gives them.", True),
        Column("positions", pl.Int64(), "position", "Counted positions of the corpus.", True),
        Column("has_report", pl.Boolean(), "", "A report of the study is published."),
    ),
)

ACROSS_MODELS_TOKENS = Table(
    "across_models_tokens",
    "across_models",
    "Each token that any compared study tracks, in each of them: whether one neuron is the best by several measures.",
    ("study", "token", "token_id"),
    (
        _STUDY,
        TOKEN,
        Column("token_id", pl.Int32(), "index", "Entry of the model's vocabulary; missing where the study does not track the token.", True),
        Column(
            "state",
            pl.String(),
            "name",
            "`compared`; `not tracked`: the vocabulary has the token, the study does not track it; `no such token`: the vocabulary lacks it.",
        ),
        Column("predictions", pl.Int64(), "position", "Counted positions at which the token is the model's top prediction.", True),
        Column("prompts", pl.String(), "name", "Patched prompts whose answer is the token, joined by a comma; empty where none.", True),
        Column(
            "measures",
            pl.Int32(),
            "measure",
            "How many of congruence, AUROC, contribution and patching could rank the neurons for the token.",
            True,
        ),
        Column(
            "agreeing", pl.Int32(), "measure", "The most of these by which one and the same neuron is best; 0 where none has a best.", True
        ),
        Column("layer", pl.Int32(), "index", "Block of that neuron; missing below two agreeing measures.", True),
        Column("neuron", pl.Int32(), "index", "The neuron itself, of its block; of several, the lowest.", True),
        Column(
            "predictor_role",
            pl.String(),
            "name",
            "What the best neuron by separation, of equals the lowest, does to the token: `writes it most`, `writes it too`, `goes along` or "
            "`writes against it`; missing without predictions or contributions.",
            True,
        ),
    ),
)

ACROSS_MODELS_NEURONS = Table(
    "across_models_neurons",
    "across_models",
    "The neurons that are among the best for a token by any measure, with their place by every measure.",
    ("study", "token_id", "layer", "neuron"),
    (
        _STUDY,
        TOKEN_ID,
        TOKEN,
        LAYER,
        NEURON,
        Column(
            "congruence",
            _float,
            "logit per unit of activation",
            "With the token, in the model's own logits (convention `logits`); of a gated neuron its size, for its sign is a convention.",
        ),
        Column("congruence_rank", pl.Int32(), "index", _RANK_BY),
        Column("auroc", _float, "share", "As in token_neuron_scores; missing where the token is never the top prediction.", True),
        DIRECTION,
        SEPARATION,
        Column("separation_rank", pl.Int32(), "index", _RANK_BY, True),
        Column("contribution", _float, "logit", "As in contributions; missing where the token is predicted nowhere or not screened.", True),
        Column("contribution_rank", pl.Int32(), "index", _RANK_BY, True),
        Column(
            "improvement",
            _float,
            "of the difference",
            "By patching the neuron at the last position, mean over the prompts whose answer is the token; missing where it was not patched.",
            True,
        ),
        Column("improvement_rank", pl.Int32(), "index", _RANK_BY, True),
        Column(
            "ablation_effect",
            _float,
            "nat",
            "Change of the token's log-probability where it is predicted, the activation replaced by its corpus mean; missing where the "
            "neuron was not ablated for the token.",
            True,
        ),
        Column("ablation_low", _float, "nat", "Lower end of its 95 % interval from drawing documents again.", True),
        Column("ablation_high", _float, "nat", "Upper end.", True),
        Column("ablation_p_value", _float, "share", "Against control neurons of the same layer.", True),
        Column("ablation_rank", pl.Int32(), "index", "Place among the neurons that were ablated for the token, largest drop first.", True),
        Column("ablation_positions", pl.Int32(), "position", "Positions that the effect is the mean over.", True),
    ),
)

# Of all studies together, and so in no study's report.
ACROSS_MODELS_TABLES: dict[str, Table] = {
    table.name: table for table in (ACROSS_MODELS_STUDIES, ACROSS_MODELS_TOKENS, ACROSS_MODELS_NEURONS)
}

_SIDES_OF_A_DIFFERENCE = ("study A", "study B")


def _of_both(
    name: str, dtype: pl.DataType, unit: str, description: str, nullable: bool = False, is_open: bool = False
) -> tuple[Column, ...]:
    """The columns <name>_a and <name>_b: the same of study A and of study B."""
    return tuple(
        Column(f"{name}_{side[-1].lower()}", dtype, unit, f"{side[:1].upper()}{side[1:]}: {description}", nullable, is_open)
        for side in _SIDES_OF_A_DIFFERENCE
    )


_MEASURE = Column(
    "measure",
    pl.String(),
    "name",
    "`contribution`: what the neuron adds to the token's logit where it is predicted, less that elsewhere. `separation`: the AUROC, read in its "
    "direction.",
)

STUDY_DIFFERENCE_FACTS = Table(
    "study_difference_facts",
    "study_difference",
    "What the two studies ask and what they were made from: fields of the study files, and facts of the outputs.",
    ("fact",),
    (
        Column("fact", pl.String(), "name", "Field of the study file, as a dotted path, or an output's fact: its name after the output's."),
        *_of_both("value", pl.String(), "text", "its value as text, lists as JSON; missing where there is none.", True),
        Column("is_equal", pl.Boolean(), "", "Both have the same."),
    ),
)

STUDY_DIFFERENCE_NEURONS = Table(
    "study_difference_neurons",
    "study_difference",
    "Every neuron of both models: how far its activation is distributed otherwise, and how alike what it writes is.",
    ("layer", "neuron"),
    (
        LAYER,
        NEURON,
        Column("distance", _float, "share", "Kolmogorov-Smirnov distance of its two distributions, as far as the bins tell: over all levels that are an edge of a "
               "bin in both studies, the largest difference of the shares of positions below the level; at 0 also at or below it. Missing without such a level.", True),
        Column("halves_distance", _float, "share", "Of the two halves of documents of a study the same distance, over all edges of its own bins, in study A or study B, whichever is "
               "larger: what other documents alone can give. The edge 0 is left out of gated neurons. Missing where no study has positions in both halves.", True),
        Column("shared_edges", pl.Int32(), "edge", "Edges of bins that both studies have for it."),
        Column("sign", pl.Int8(), "", "1: the neuron of study B has the sign of that of study A. -1: it is negated, which is a convention where the MLP is gated; all that stands "
               "here of study B is then read negated. Told by what both write, else by the smaller distance; missing where neither tells.", True, between=(-1, 1)),
        Column("likeness", _float, "cosine", "Of its congruence with the tokens of the vocabulary (convention `logits`) in the two models, all but its first and last ten tokens "
               "in each counted as 0, in its sign; 1 where both write the same. Missing where congruence means nothing of a model.", True, between=(-1.0, 1.0)),
        *_of_both("mean", _float, "activation", "mean activation over the positions that are not NaN.", True, is_open=True),
        *_of_both("share_above_zero", _float, "share", "share of these positions with an activation above 0.", True),
    ),
)  # fmt: skip

STUDY_DIFFERENCE_TOKENS = Table(
    "study_difference_tokens",
    "study_difference",
    "Every token that both studies track, and every group that both tell as one: whether the same neurons lead for it.",
    ("token_id", "measure"),
    (
        TOKEN_ID,
        TOKEN,
        _MEASURE,
        *_of_both("predictions", pl.Int64(), "position", "counted positions at which the token is the top prediction; missing for a group.", True),
        *_of_both("layer", pl.Int32(), "index", "block of the first neuron; missing where the measure speaks for none.", True),
        *_of_both("neuron", pl.Int32(), "index", "the first neuron, of its block; of equals the lower.", True),
        *_of_both("value", _float, "of its measure", "what the measure says of the first neuron.", True),
        *_of_both("listed", pl.Int32(), "neuron", "neurons among its first ten; fewer than ten where the measure speaks for fewer."),
        Column("agreeing", pl.Int32(), "neuron", "Neurons that are among the first ten of both."),
        Column("rank_correlation", _float, "correlation", "Spearman's, over all neurons of which both studies have the measure; missing where it says the same of all.",
               True, between=(-1.0, 1.0)),
    ),
)  # fmt: skip

STUDY_DIFFERENCE_TOKEN_NEURONS = Table(
    "study_difference_token_neurons",
    "study_difference",
    "The neurons that are among the first ten for a token in either study, with their place in both.",
    ("token_id", "measure", "layer", "neuron"),
    (
        TOKEN_ID,
        TOKEN,
        _MEASURE,
        LAYER,
        NEURON,
        *_of_both("rank", pl.Int32(), "index", "place among all neurons, 1 is best; missing where the study has no measure of it.", True),
        *_of_both("value", _float, "of its measure", "what the measure says of it.", True),
    ),
)

STUDY_DIFFERENCE_PAIRS = Table(
    "study_difference_pairs",
    "study_difference",
    "Every pair of a token and a neuron that both studies studied: how far its two curves lie apart.",
    ("token_id", "layer", "neuron"),
    (
        TOKEN_ID,
        TOKEN,
        LAYER,
        NEURON,
        Column("reliable_bins", pl.Int32(), "bin", "Bins of study_difference_curves that are reliable."),
        Column(
            "largest_difference",
            _float,
            "share",
            "Largest difference of the two proportions over these bins; missing where there is none.",
            True,
        ),
    ),
)

STUDY_DIFFERENCE_CURVES = Table(
    "study_difference_curves",
    "study_difference",
    "The curves of these pairs over the bins between levels that are an edge of a bin in both studies.",
    ("layer", "neuron", "token_id", "bin_left"),
    (
        LAYER,
        NEURON,
        TOKEN_ID,
        TOKEN,
        BIN_LEFT,
        BIN_RIGHT,
        *_of_both("count", pl.Int64(), "position", "positions with an activation in the bin."),
        *_of_both("top_prediction_count", pl.Int64(), "position", "of these, positions at which the token is the top prediction."),
        *_of_both("proportion", _float, "share", "top_prediction_count / count; missing in an empty bin.", True),
        Column("reliable", pl.Boolean(), "", "In both studies the bin has at least as many positions as the larger min_count asks for."),
    ),
)

# Of two studies together, and so in no study's report.
STUDY_DIFFERENCE_TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        STUDY_DIFFERENCE_FACTS,
        STUDY_DIFFERENCE_NEURONS,
        STUDY_DIFFERENCE_TOKENS,
        STUDY_DIFFERENCE_TOKEN_NEURONS,
        STUDY_DIFFERENCE_PAIRS,
        STUDY_DIFFERENCE_CURVES,
    )
}

_ALL_NEURONS = ("layer", "neuron")
_SCALED = "activation / scale / 2^30"


def _of_blocks(outcome: str, where: str, dtype: str = "int32", unit: str = "position") -> tuple[Tensor, ...]:
    """The counters of an outcome by block of documents; `where` says over which positions."""
    name = f"block_{outcome}"
    return (
        Tensor(f"{name}_count", dtype, ("block", "token", *_ALL_NEURONS, "bin"), unit, f"As block_count, {where}."),
        Tensor(f"{name}_outside", dtype, ("block", "token", *_ALL_NEURONS, "outside"), unit, f"As block_outside, {where}."),
        Tensor(f"{name}_scaled", "int64", ("block", "layer", "token", "neuron"), _SCALED, f"As block_scaled, {where}."),
    )


def _of_null(outcome: str, among: str) -> tuple[Tensor, ...]:
    """The counters of an outcome's null labels; `among` says over which positions of a window they are rotated."""
    name = f"null_{outcome}"
    return (
        Tensor(f"{name}_count", "int32", ("token", *_ALL_NEURONS, "bin"), "position", f"As {outcome}_count, over documents of the telling half, where each window's labels are rotated among {among} by a seeded shift between a quarter and three quarters of their number."),
        Tensor(f"{name}_outside", "int32", ("token", *_ALL_NEURONS, "outside"), "position", "As outside, over the same positions."),
        Tensor(f"{name}_scaled", "int64", ("layer", "token", "neuron"), _SCALED, "As block_scaled, over the same positions of the telling half. 0 where the screen is off."),
    )  # fmt: skip


def _between(side: str, extreme: str, edge: str) -> tuple[Tensor, ...]:
    """The examples of the levels between 0 and the extremes of a side."""
    name = f"between_{side}"
    return (
        Tensor(f"{name}_value", "float32", (*_ALL_NEURONS, "band"), "activation", f"Activations between 0 and the {extreme}, one of each band: band k from 2^-(k+1) of the {edge} edge of the neuron's bins to 2^-k of it, the first beyond it too. Of the windows whose {extreme} counted activation lies in the band, that of the document of lowest seeded hash, the first of its windows. 0 where there is none, or the bins do not reach beyond 0 on that side."),
        Tensor(f"{name}_document", "int64", (*_ALL_NEURONS, "band"), "index", "Their documents; -1 where none."),
        Tensor(f"{name}_window", "int32", (*_ALL_NEURONS, "band"), "index", "Their windows in the document."),
        Tensor(f"{name}_position", "int32", (*_ALL_NEURONS, "band"), "index", f"Their positions in the window: where it is {extreme}, the first of equals."),
        Tensor(f"{name}_context", "float16", (*_ALL_NEURONS, "band", "offset"), "activation", "As top_context, around them."),
    )  # fmt: skip


HISTOGRAM_TENSORS: tuple[Tensor, ...] = (
    Tensor("count", "int64", (*_ALL_NEURONS, "bin"), "position", "Positions with an activation in the bin."),
    Tensor("outside", "int64", (*_ALL_NEURONS, "outside"), "position", "Positions below the bins, above them, and NaN, in this order."),
    Tensor("top_prediction_count", "int64", ("token", *_ALL_NEURONS, "bin"), "position", "As count, where the token is the top prediction."),
    Tensor("top_prediction_outside", "int64", ("token", *_ALL_NEURONS, "outside"), "position", "As outside, where the token is the top prediction."),
    Tensor("mean", "float64", _ALL_NEURONS, "activation", "Mean of the activations that are not NaN."),
    Tensor("moment_2", "float64", _ALL_NEURONS, "activation^2", "Sum of squared deviations from the mean."),
    Tensor("moment_3", "float64", _ALL_NEURONS, "activation^3", "Sum of cubed deviations from the mean."),
    Tensor("moment_4", "float64", _ALL_NEURONS, "activation^4", "Sum of the fourth powers of the deviations."),
    Tensor("minimum", "float32", _ALL_NEURONS, "activation", "Smallest activation; infinity before any."),
    Tensor("maximum", "float32", _ALL_NEURONS, "activation", "Largest activation; minus infinity before any."),
    Tensor("above_zero", "int64", _ALL_NEURONS, "position", "Positions with an activation above 0."),
    Tensor("top_value", "float32", (*_ALL_NEURONS, "rank"), "activation", "Highest activations, one a document; minus infinity where none."),
    Tensor("top_document", "int64", (*_ALL_NEURONS, "rank"), "index", "Their documents; -1 where none."),
    Tensor("top_window", "int32", (*_ALL_NEURONS, "rank"), "index", "Their windows in the document."),
    Tensor("top_position", "int32", (*_ALL_NEURONS, "rank"), "index", "Their positions in the window."),
    Tensor("top_context", "float16", (*_ALL_NEURONS, "rank", "offset"), "activation", "The neuron's activations from 40 positions before each of them to 12 after, clipped to what float16 holds; 0 outside the window."),
    Tensor("bottom_value", "float32", (*_ALL_NEURONS, "rank"), "activation", "Lowest activations, one a document; infinity where none."),
    Tensor("bottom_document", "int64", (*_ALL_NEURONS, "rank"), "index", "Their documents; -1 where none."),
    Tensor("bottom_window", "int32", (*_ALL_NEURONS, "rank"), "index", "Their windows in the document."),
    Tensor("bottom_position", "int32", (*_ALL_NEURONS, "rank"), "index", "Their positions in the window."),
    Tensor("bottom_context", "float16", (*_ALL_NEURONS, "rank", "offset"), "activation", "As top_context, around the lowest activations."),
    *_between("top", "highest", "upper"),
    *_between("bottom", "lowest", "lower"),
    Tensor("random_document", "int64", ("random",), "index", "Documents of two places of the whole corpus at which every neuron is shown: the counted positions of lowest seeded hash, one a document; -1 where there are no more."),
    Tensor("random_window", "int32", ("random",), "index", "Their windows in the document."),
    Tensor("random_position", "int32", ("random",), "index", "Their positions in the window."),
    Tensor("random_value", "float32", (*_ALL_NEURONS, "random"), "activation", "The neuron's activations at them."),
    Tensor("random_context", "float16", (*_ALL_NEURONS, "random", "offset"), "activation", "As top_context, around them."),
    Tensor("screen_token", "int32", ("group",), "index", "Screened token of the group, ascending; the last group, -1, is all other tokens. No group where the screen is off."),
    Tensor("screen_count", "int64", ("group",), "position", "Positions at which a token of the group is the top prediction."),
    Tensor("screen_sum", "int64", ("layer", "group", "neuron"), "activation / 2^24", "Sum of the activations there, each rounded to a multiple of 2^-24."),
    Tensor("screen_squares", "int64", ("layer", "group", "neuron"), "activation^2 / 2^24", "Sum of their squares, each rounded to a multiple of 2^-24."),
    Tensor("screen_scaled", "int64", ("layer", "group", "neuron"), _SCALED, "Sum of the activations there, each over what the final norm divides by at its position (times what a norm behind the MLP divides by, if there is one), rounded to a multiple of 2^-30."),
    Tensor("screen_current_count", "int64", ("group",), "position", "Positions that hold a token of the group."),
    Tensor("screen_current_sum", "int64", ("layer", "group", "neuron"), "activation / 2^24", "As screen_sum, over the positions that hold a token of the group."),
    Tensor("occurrences", "int64", ("vocabulary",), "position", "Counted positions that hold the token."),
    Tensor("predictions", "int64", ("vocabulary",), "position", "Counted positions at which the token is the top prediction."),
    Tensor("correct_predictions", "int64", ("vocabulary",), "position", "Of these, positions after which the token follows."),
    Tensor("sampled_prediction_document", "int64", ("token", "sample"), "index", "Documents of the sampled positions at which the token is the top prediction: those of lowest seeded hash, at most four of a document, neither the first nor the last of a window; -1 where there are no more."),
    Tensor("sampled_prediction_window", "int32", ("token", "sample"), "index", "Their windows in the document."),
    Tensor("sampled_prediction_position", "int32", ("token", "sample"), "index", "Their positions in the window."),
    Tensor("sampled_next_token_document", "int64", ("token", "sample"), "index", "Documents of the positions, sampled in the same way, after which the token really follows; -1 where there are no more."),
    Tensor("sampled_next_token_window", "int32", ("token", "sample"), "index", "Their windows in the document."),
    Tensor("sampled_next_token_position", "int32", ("token", "sample"), "index", "Their positions in the window."),
    Tensor("block_positions", "int64", ("block",), "position", "Counted positions of a block of documents. Block = domain x 8 + fold; a document's fold, 0 to 7, is a seeded hash of its number. Folds 0 to 3 are the discovery half, 4 to 7 the telling half."),
    Tensor("block_count", "int32", ("block", *_ALL_NEURONS, "bin"), "position", "As count, over the documents of the block."),
    Tensor("block_outside", "int32", ("block", *_ALL_NEURONS, "outside"), "position", "As outside, over the documents of the block."),
    Tensor("block_scaled", "int64", ("block", *_ALL_NEURONS), _SCALED, "As screen_scaled, over all counted positions of the block's documents. 0 where the screen is off."),
    *_of_blocks("top_prediction", "where the token is the top prediction"),
    *_of_null("top_prediction", "its counted positions"),
    Tensor("screen_null_sum", "int64", ("layer", "group", "neuron"), "activation / 2^24", "As screen_sum, where each window's labels are rotated as those of null_top_prediction_count; over all documents."),
)  # fmt: skip

# Only where the study asks for `embedding_predictions`.
EMBEDDING_TENSORS: tuple[Tensor, ...] = (
    Tensor("embedding_prediction_count", "int64", ("token", *_ALL_NEURONS, "bin"), "position", "As count, where the token is the top prediction by the embedding."),
    Tensor("embedding_prediction_outside", "int64", ("token", *_ALL_NEURONS, "outside"), "position", "As outside, where the token is the top prediction by the embedding."),
    Tensor("embedding_predictions", "int64", ("vocabulary",), "position", "Counted positions at which the token is the top prediction by the embedding."),
)  # fmt: skip

_PROBABILITY = "position / 2^32"

# Only where `outcomes` of the study names them.
OUTCOME_TENSORS: dict[str, tuple[Tensor, ...]] = {
    "next_token": (
        Tensor("next_token_count", "int64", ("token", *_ALL_NEURONS, "bin"), "position", "As count, where the token comes next in the text."),
        Tensor("next_token_outside", "int64", ("token", *_ALL_NEURONS, "outside"), "position", "As outside, where the token comes next in the text."),
        Tensor("next_tokens", "int64", ("vocabulary",), "position", "Counted positions at which the token comes next in the window."),
        Tensor("no_next_token_count", "int64", (*_ALL_NEURONS, "bin"), "position", "As count, over the last positions of windows, where no next token is known."),
        Tensor("no_next_token_outside", "int64", (*_ALL_NEURONS, "outside"), "position", "As outside, over the last positions of windows."),
        Tensor("next_token_scaled", "int64", ("layer", "token", "neuron"), _SCALED, "As screen_scaled, over the positions at which the token comes next. 0 where the screen is off."),
        Tensor("no_next_token_scaled", "int64", _ALL_NEURONS, _SCALED, "As screen_scaled, over the last positions of windows. 0 where the screen is off."),
        *_of_blocks("next_token", "where the token comes next in the text"),
        Tensor("block_no_next_token_count", "int32", ("block", *_ALL_NEURONS, "bin"), "position", "As block_count, over the last positions of windows."),
        Tensor("block_no_next_token_outside", "int32", ("block", *_ALL_NEURONS, "outside"), "position", "As block_outside, over the last positions of windows."),
        Tensor("block_no_next_token_scaled", "int64", ("block", *_ALL_NEURONS), _SCALED, "As block_scaled, over the last positions of windows."),
        *_of_null("next_token", "those of its counted positions that have a next token"),
    ),
    "probability": (
        Tensor("probability_count", "int64", ("token", *_ALL_NEURONS, "bin"), _PROBABILITY, "Sum of the probabilities that the model gives the token, over the positions in the bin, each rounded to a multiple of 2^-32."),
        Tensor("probability_outside", "int64", ("token", *_ALL_NEURONS, "outside"), _PROBABILITY, "The same over the positions of outside."),
        Tensor("probability_sums", "int64", ("vocabulary",), _PROBABILITY, "The same over all counted positions, of tracked tokens; 0 for others."),
        Tensor("probability_scaled", "int64", ("layer", "token", "neuron"), _SCALED, "As screen_scaled, over all counted positions, each activation times the token's probability there. 0 where the screen is off."),
        *_of_blocks("probability", "each position with the token's probability as its weight", "int64", _PROBABILITY),
    ),
}  # fmt: skip

# Only where `kept_positions` of the study is above 0.
KEPT_TENSORS: tuple[Tensor, ...] = (
    Tensor("kept_document", "int64", ("kept",), "index", "Documents of the positions at which all activations are kept, lowest seeded hash first; -1 in unused rows, which stand last."),
    Tensor("kept_window", "int32", ("kept",), "index", "Their windows in the document."),
    Tensor("kept_position", "int32", ("kept",), "index", "Their positions in the window."),
    Tensor("kept_prediction", "int32", ("kept",), "index", "The model's top prediction there."),
    Tensor("kept_next_token", "int32", ("kept",), "index", "The token that comes next in the text; -1 at the last position of a window."),
    Tensor("kept_is_background", "uint8", ("kept",), "", "1: among the sample of all counted positions. 0: kept for a tracked token alone."),
    Tensor("kept_activations", "float16", ("kept", *_ALL_NEURONS), "activation", "Activations of all neurons there, clipped to what float16 holds."),
    Tensor("kept_residual", "float32", ("kept", "width"), "residual stream", "What the final norm reads there; zeros in a model without one."),
)  # fmt: skip


def histogram_tensors(embedding_predictions: bool, outcomes: Collection[str] = (), keeps_positions: bool = False) -> tuple[Tensor, ...]:
    """Every tensor of the histograms of a study with or without `embedding_predictions` and `kept_positions`, and with these `outcomes`."""
    further = tuple(tensor for outcome, tensors in OUTCOME_TENSORS.items() if outcome in outcomes for tensor in tensors)
    return HISTOGRAM_TENSORS + (EMBEDDING_TENSORS if embedding_predictions else ()) + further + (KEPT_TENSORS if keeps_positions else ())
