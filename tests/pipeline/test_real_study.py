"""The study of a language model and text made by others: green checks, and the slow re-implementation's integers.

CI runs a part of the text; NEURON_ATLAS_REAL_DOCUMENTS=1000 runs the whole.
"""

import os

import numpy as np
import polars as pl
import pytest

from assets.contracts import HISTOGRAM_TENSORS, TABLES
from assets.counting.batches import batches
from assets.counting.histograms import ActivationBins
from assets.histograms.histogram_store import read_histograms
from assets.histograms.row_independence import rows_of_batches, rows_of_last_batches
from assets.model.language_model import LanguageModel
from assets.model.loading import load
from assets.store import Place, Record, Store
from assets.study import Study
from assets.tables import read_table
from tests.real_inputs import SHARED_REAL, published_study
from tests.slow_reimplementation import SlowCounts, slow_histograms

DOCUMENTS = int(os.environ.get("NEURON_ATLAS_REAL_DOCUMENTS", "40"))
SAMPLE = [0, 17, 85, 171]  # neurons of each of the 5 layers that are counted again slowly

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (SHARED_REAL / "stories260k").is_dir(), reason=f"the real inputs are not at {SHARED_REAL}"),
]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Store]:
    """The study, run over the first documents."""
    study, deployment = published_study("stories260k", SHARED_REAL / "stories260k", DOCUMENTS, tmp_path_factory.mktemp("real"))
    return study, deployment.store


def record(published: tuple[Study, Store], asset: str, shard: str | None = None) -> Record:
    found = published[1].find(Place(published[0].name, asset, shard))
    assert found is not None
    return found


def test_the_integers_are_those_of_plain_hugging_face_code_and_one_loop_over_positions(published: tuple[Study, Store]) -> None:
    study, _ = published
    fast = read_histograms(record(published, "merged_histograms").folder)
    bins = ActivationBins.from_frame(read_table(record(published, "activation_bins").folder, TABLES["activation_bins"]))
    windows = pl.concat(
        [read_table(record(published, "token_windows", shard).folder, TABLES["token_windows"]) for shard in study.shard_names]
    )
    folder = SHARED_REAL / "stories260k"
    model: LanguageModel = load(folder, "float32", "auto")
    rows = rows_of_batches(model, windows, study.batch_positions)
    screened = fast.screened_ids[:-1].tolist()
    assert len(screened) == model.facts.vocabulary  # all tokens fit into the default budget
    counts = SlowCounts(bins, fast.token_ids, model.facts.vocabulary, examples=study.examples, neurons=SAMPLE, screened=screened)
    last_rows = rows_of_last_batches(model, windows, rows)
    made = batches(windows, model.facts.context_length, model.facts.beginning_token_id, rows, last_rows)
    slow = slow_histograms(folder, made, counts)
    for tensor in HISTOGRAM_TENSORS:
        chosen = np.asarray(fast[tensor.name][:])
        if "neuron" in tensor.dimensions:
            chosen = chosen.take(SAMPLE, axis=tensor.dimensions.index("neuron"))
        if tensor.dtype.startswith("int") or tensor.name.endswith(("value", "minimum", "maximum")):
            np.testing.assert_array_equal(chosen, slow[tensor.name], err_msg=tensor.name)
        else:  # sums of float64 in another order
            np.testing.assert_allclose(chosen, slow[tensor.name], rtol=1e-8, atol=1e-6, err_msg=tensor.name)


def test_the_bridge_is_the_plain_model(published: tuple[Study, Store]) -> None:
    parity = record(published, "model_parity").summary
    assert parity["prediction_disagreements"] == 0
    assert parity["largest_logit_difference"] < 1e-4


def test_a_token_that_this_vocabulary_lacks_is_refused_with_what_it_splits_into() -> None:
    from assets.model.refusals import ModelError
    from assets.model.vocabulary import token_id

    model = load(SHARED_REAL / "stories260k", "float32", "auto")
    with pytest.raises(ModelError, match=r"token ' an': not one token of this tokenizer; inside running text it splits into ' a' \+ 'n'"):
        token_id(model, " an")
    assert [token_id(model, token) for token in (" the", " a", ".")] == [265, 261, model.tokenizer.convert_tokens_to_ids(".")]
