"""What is drawn and chosen for ablation: positions, donors, controls, and the intervals from drawing documents again."""

from collections.abc import Mapping

import numpy as np
import polars as pl
import pytest
import torch

from assets.ablation import ablated_positions as ablated_positions_module
from assets.ablation.ablated_positions import (
    COMPARED,
    ablated_positions,
    in_shared_turn,
    of_telling_half,
    own_positions,
    windows_of,
    with_compared,
)
from assets.ablation.control_neurons import control_neurons
from assets.ablation.document_intervals import document_intervals
from assets.ablation.donors import DONORS, Donors, chosen_windows, donors, donors_of_windows, kept_donors
from assets.ablation.replacements import ABLATIONS, corpus_means, replacements
from assets.counting.document_blocks import TELLING, fold_of
from assets.counting.kept_positions import SEED as KEPT_SEED
from assets.counting.position_samples import NEXT_TOKEN, SAMPLED, TOP_PREDICTION
from assets.histograms.activation_bins import fixed_bins
from assets.histograms.activation_histograms import count_windows
from assets.study import FixedBins, Study
from tests.assets.ablation.small_corpus import Studied, pairs_of
from tests.assets.ablation.small_corpus import windows_of as windows_of_documents
from tests.planted import planted_token_id
from tests.slow_ablation import logits_at
from tests.slow_reimplementation import slow_hash

A, AN, THE = (planted_token_id(word) for word in (" a", " an", " the"))


def places_of(studied: Studied, tokens: list[int], wanted: int, outcome: str = TOP_PREDICTION) -> pl.DataFrame:
    own = own_positions(studied.sampled, dict.fromkeys(tokens, outcome), wanted)
    return ablated_positions(windows_of(studied.windows.lazy(), own), studied.position_predictions.lazy(), own)


def test_positions_are_those_at_which_the_token_is_predicted_and_as_many_of_the_same_windows_at_which_it_is_not(planted: Studied) -> None:
    places = places_of(planted, [A, THE], 40)
    for row in places.iter_rows(named=True):
        ids = planted.ids(row["document"])
        prediction = int(logits_at(planted.plain, ids, row["position"]).argmax())
        assert (prediction == row["token_id"]) == (row["positions"] == "predicted")
        assert 0 < row["position"] < len(ids) - 1
        assert ids[row["position"] + 1] == row["next_token_id"]
    counts = places.group_by("token_id", "positions").len().sort("token_id", "positions")
    of_the = places.filter(token_id=THE, positions="predicted")
    # In " the" windows, other predictions run out: a window's positions get as many partners as it has.
    partners = sum(
        min(row["len"], sum(prediction != THE for prediction in planted.predictions[row["document"]][1:-1]))
        for row in of_the.group_by("document").len().iter_rows(named=True)
    )
    assert counts.rows() == [(THE, "other", partners), (THE, "predicted", 40), (A, "other", 17), (A, "predicted", 17)]
    assert 0 < partners < 40
    windows = (
        places.filter(token_id=A).group_by("document").agg((pl.col("positions") == "predicted").sum().alias("one"), pl.len().alias("all"))
    )
    assert (windows["all"] == 2 * windows["one"]).all()
    assert not places.is_duplicated().any()


def test_positions_are_found_wherever_they_are_the_first_of_a_seeded_order(planted: Studied) -> None:
    everywhere = sum(prediction == A for predictions in planted.predictions.values() for prediction in predictions[1:-1])
    assert places_of(planted, [A], 1000).filter(positions="predicted").height == everywhere == 17
    few, many = (own_positions(planted.sampled, {THE: TOP_PREDICTION}, wanted) for wanted in (5, 12))
    assert few.height == 5
    assert few.equals(many.head(5))
    assert many.equals(own_positions(planted.sampled.reverse(), {THE: TOP_PREDICTION, A: TOP_PREDICTION}, 12).filter(token_id=THE))


def made_up_sample(amounts: Mapping[int, list[int]]) -> pl.DataFrame:
    """Of each token so many positions in document 0, 1 and so on."""
    rows = [
        (token, document, 0, 40 * token + place)
        for token, held in amounts.items()
        for document, held_here in enumerate(held)
        for place in range(held_here)
    ]
    return pl.DataFrame(rows, schema={"token_id": pl.Int32, "document": pl.Int64, "window_in_document": pl.Int32, "position": pl.Int32}, orient="row")  # fmt: skip


def test_every_position_of_a_token_is_as_likely_to_come_early_and_two_of_a_document_come_together_no_oftener(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sample, draws = made_up_sample({7: [4, 1, 1, 2], 3: [1, 4, 0, 4]}), 2000
    first, pairs = np.zeros(8), 0
    for seed in range(draws):
        monkeypatch.setattr(ablated_positions_module, "SEED", 10 * seed)
        turn = in_shared_turn(sample).filter(token_id=7).head(2)
        first[[sample.filter(token_id=7).rows().index(row) for row in turn.rows()]] += 1
        pairs += turn["document"].n_unique() == 1
    # Two of eight are drawn: each with probability 1/4, both of one document with 7/28. Four standard deviations.
    assert np.abs(first / draws - 1 / 4).max() < 4 * (1 / 4 * 3 / 4 / draws) ** 0.5
    assert abs(pairs / draws - 7 / 28) < 4 * (1 / 4 * 3 / 4 / draws) ** 0.5


def test_tokens_are_looked_at_in_the_same_documents_as_far_as_may_be() -> None:
    generator = np.random.default_rng(0)
    amounts = {token: generator.integers(0, 5, 400).tolist() for token in range(1, 9)}
    own = in_shared_turn(made_up_sample(amounts)).filter(pl.int_range(pl.len()).over("token_id") < 64)
    alone = made_up_sample(amounts).sample(fraction=1, shuffle=True, seed=1).filter(pl.int_range(pl.len()).over("token_id") < 64)
    assert own.group_by("token_id").len()["len"].to_list() == [64] * 8
    assert own["document"].n_unique() < 0.6 * alone["document"].n_unique()


def test_positions_of_the_next_token_have_partners_at_which_it_is_neither_predicted_nor_follows(planted: Studied) -> None:
    tree = planted_token_id(" tree")  # the planted model never predicts it
    assert places_of(planted, [tree], 40).height == 0
    places = places_of(planted, [tree, THE], 40, NEXT_TOKEN)
    assert places.filter(token_id=tree, positions="next_token").height > 10
    assert set(places["positions"]) == {"next_token", "other"}
    for row in places.iter_rows(named=True):
        ids, predictions = planted.ids(row["document"]), planted.predictions[row["document"]]
        if row["positions"] == "next_token":
            assert ids[row["position"] + 1] == row["next_token_id"] == row["token_id"]
        else:
            assert row["token_id"] not in (row["next_token_id"], predictions[row["position"]])


def test_positions_are_those_of_the_telling_halfs_documents(planted: Studied) -> None:
    telling = of_telling_half(planted.sampled)
    assert 0 < telling.height < planted.sampled.height
    folds = fold_of(planted.sampled["document"].to_numpy())
    expected = [row for row, fold in zip(planted.sampled.iter_rows(named=True), folds, strict=True) if fold in TELLING]
    assert telling.rows(named=True) == expected


def test_an_outcome_that_was_not_sampled_is_refused(planted: Studied) -> None:
    with pytest.raises(ValueError, match=r"positions by outcome 'rank': only \['top_prediction', 'next_token'\] are sampled"):
        own_positions(planted.sampled, {THE: "rank"}, 4)


def test_a_study_asks_for_no_more_positions_than_are_sampled() -> None:
    (limit,) = (entry.le for entry in Study.model_fields["ablation_positions"].metadata if hasattr(entry, "le"))
    assert limit == SAMPLED


def test_controls_are_compared_at_positions_of_as_many_windows_as_there_are_the_same_for_both_kinds(planted: Studied) -> None:
    places = places_of(planted, [A, THE], 40)
    marked = with_compared(places)
    assert marked.drop("is_compared").equals(places)
    assert marked.group_by("token_id", "positions").agg(pl.col("is_compared").sum()).sort("token_id", "positions").rows() == [
        (THE, "other", COMPARED), (THE, "predicted", COMPARED), (A, "other", COMPARED), (A, "predicted", COMPARED),
    ]  # fmt: skip
    for token in (A, THE):
        windows = {
            kind: marked.filter("is_compared", token_id=token, positions=kind)["document"].to_list() for kind in ("predicted", "other")
        }
        there = places.filter(token_id=token, positions="predicted")["document"].n_unique()
        assert len(set(windows["predicted"])) == min(COMPARED, there)
        if token == A:  # each of its positions has a partner
            assert sorted(windows["predicted"]) == sorted(windows["other"])
    assert with_compared(places.reverse()).reverse().equals(marked)
    few = places_of(planted, [A], 9)
    assert with_compared(few)["is_compared"].all()


def test_windows_are_shuffled_by_seed_not_by_shard_and_short_ones_left_out(planted: Studied) -> None:
    whole = chosen_windows(planted.windows.lazy(), 10_000)
    assert whole.equals(chosen_windows(planted.windows.reverse().lazy(), 10_000))
    assert sorted(whole["document"]) == list(range(28)) != whole["document"].to_list()
    assert chosen_windows(planted.windows.lazy(), 5).equals(whole.head(5))
    assert chosen_windows(windows_of_documents([[0, 5], [0, 5, 6]]).lazy(), 100)["document"].to_list() == [1]


def test_donors_are_activations_of_the_corpus_and_a_position_gets_one_of_another_document(tiny: Studied) -> None:
    drawn = donors_of_windows(tiny.model, tiny.windows, {1: [3, 20]}, 64)
    rows = tiny.activations(1)
    assert len(drawn.documents) >= DONORS
    for document, activation in zip(drawn.documents.tolist(), drawn.activations[1].numpy(), strict=True):
        distance = np.abs(rows[document][1:, [3, 20]] - activation).max(axis=1).min()
        assert distance < 1e-5
    documents = np.repeat(np.arange(12), 20)
    chosen = drawn.drawn_for(documents, np.random.default_rng(0))
    assert (drawn.documents[chosen] != documents).all()
    assert len(np.unique(chosen)) > 100


def test_donors_are_the_first_background_positions_that_the_pass_kept_and_never_position_0(tiny: Studied) -> None:
    bins, kept = fixed_bins(3, 24, FixedBins()), 60
    counted = count_windows(tiny.model, tiny.windows, bins, [AN], count_bos=True, examples=1, batch_positions=64, kept_positions=kept)
    drawn = kept_donors(counted, {0: [7], 1: [3, 20]})
    everywhere = [(d, p) for d, length in tiny.windows.select("document", "length").iter_rows() for p in range(length)]
    background = sorted(everywhere, key=lambda place: slow_hash((place[0], 0, place[1]), seed=KEPT_SEED))[: kept // 2]
    expected = [place for place in background if place[1] > 0]
    assert len(expected) < len(background)  # the beginning-of-sequence token is counted, kept, and no donor
    assert drawn.documents.tolist() == [document for document, _ in expected]
    for layer, chosen in ((0, [7]), (1, [3, 20])):
        rows = tiny.activations(layer)
        assert drawn.activations[layer].numpy() == pytest.approx(np.stack([rows[d][p, chosen] for d, p in expected]), rel=1e-3, abs=1e-4)
    assert kept_donors(counted, {1: [3]}, most=4).documents.tolist() == drawn.documents[:4].tolist()


def test_where_the_pass_kept_no_positions_windows_are_run_for_donors(tiny: Studied) -> None:
    bins = fixed_bins(3, 24, FixedBins())
    counted = count_windows(tiny.model, tiny.windows, bins, [AN], count_bos=False, examples=1, batch_positions=64)
    drawn, windows = donors(tiny.model, counted, tiny.windows.lazy(), 64, {1: [3]}), chosen_windows(tiny.windows.lazy(), DONORS)
    again = donors_of_windows(tiny.model, windows, {1: [3]}, 64)
    assert len(drawn.documents) >= DONORS
    assert drawn.activations[1].equal(again.activations[1])


def test_where_only_one_document_is_left_it_gives_the_donor() -> None:
    drawn = Donors({}, np.array([7, 7, 9]))
    assert drawn.drawn_for(np.array([7, 7]), np.random.default_rng(0)).tolist() == [2, 2]


def test_in_a_corpus_of_one_document_every_donor_is_as_likely_as_another() -> None:
    drawn = Donors({}, np.full(4, 7)).drawn_for(np.full(4000, 7), np.random.default_rng(0))
    assert np.bincount(drawn, minlength=4) == pytest.approx([1000] * 4, abs=100)


def test_replacements_come_in_the_order_of_their_names() -> None:
    made = replacements(torch.tensor([2.0, -1.0]), torch.tensor([0.5, 0.25]), torch.tensor([3.0, 4.0]))
    assert dict(zip(ABLATIONS, made.tolist(), strict=True)) == {
        "zero": [0, 0],
        "mean": [0.5, 0.25],
        "resample": [3, 4],
        "negation": [-2, 1],
    }


def test_a_mean_that_is_not_a_number_is_0() -> None:
    statistics = pl.DataFrame({"layer": [0, 0, 0, 1], "neuron": [2, 0, 1, 0], "mean": [None, 1.5, float("nan"), 9.0]})
    assert corpus_means(statistics, 0, [0, 1, 2]).tolist() == [1.5, 0, 0]


def test_controls_are_the_nearest_of_the_layer_by_rank_of_norm_and_of_share_above_zero() -> None:
    # Ranks of norm 1 2 3 4 5 6, of share 1 3 2 4 5 6. From neuron 2 (3, 2): 0 is 2 + 1 = 3 away, 1 is 2, 3 is 3, 4 is 5, 5 is 7.
    statistics = pl.DataFrame(
        {"layer": [0] * 6 + [1], "neuron": [0, 1, 2, 3, 4, 5, 0], "share_above_zero": [0.1, 0.3, 0.2, 0.4, 0.5, 0.6, 0.2]}
    )
    norms = {0: np.array([1.0, 2, 3, 4, 50, 600])}
    chosen = control_neurons(pairs_of([(9, 0, 2)]), statistics, norms, controls=3)
    assert chosen.select("token_id", "layer", "neuron", "control").rows() == [(9, 0, 2, 0), (9, 0, 2, 1), (9, 0, 2, 3)]
    likeness = chosen.select("output_norm", "share_above_zero", "neuron_output_norm", "neuron_share_above_zero").rows()
    assert likeness == [(1, 0.1, 3, 0.2), (2, 0.3, 3, 0.2), (4, 0.4, 3, 0.2)]
    # Neuron 1 is studied with the same token, so it is no control; a neuron studied with another token is one.
    with_others = control_neurons(pairs_of([(9, 0, 2), (9, 0, 1), (8, 0, 0)]), statistics, norms, controls=100)
    assert with_others.filter(token_id=9, neuron=2)["control"].to_list() == [0, 3, 4, 5]
    assert with_others.filter(token_id=8)["control"].to_list() == [1, 2, 3, 4, 5]


def test_controls_are_drawn_in_a_seeded_order_that_pairs_of_a_token_share() -> None:
    statistics = pl.DataFrame({"layer": [0] * 60, "neuron": list(range(60)), "share_above_zero": np.linspace(0, 1, 60)})
    norms = {0: np.arange(60.0)}
    chosen = control_neurons(pairs_of([(9, 0, 20), (9, 0, 24), (8, 0, 20)]), statistics, norms, controls=30)
    orders = {key: rows.sort("draw") for key, rows in chosen.partition_by("token_id", "neuron", as_dict=True).items()}
    for rows in orders.values():
        assert rows["draw"].to_list() == list(range(30))
        assert rows["control"].to_list() != sorted(rows["control"])
    one, other = (orders[9, neuron]["control"].to_list() for neuron in (20, 24))
    assert [c for c in one if c in other] == [c for c in other if c in one]  # shared controls come in the same order
    assert orders[8, 20]["control"].to_list() != one
    assert chosen.equals(control_neurons(pairs_of([(9, 0, 20), (9, 0, 24), (8, 0, 20)]), statistics, norms, controls=30))


def test_intervals_come_from_documents_not_from_positions() -> None:
    generator = np.random.default_rng(0)
    documents = np.repeat([4, 9], 500)
    # Two documents whose positions all agree: a draw has both, or one of them twice. A thousand positions make it no surer.
    assert document_intervals(documents * 1.0, documents, generator).tolist() == [4, 9]
    assert document_intervals(np.ones((1000, 2)), documents, generator).tolist() == [[1, 1], [1, 1]]
    assert np.isnan(document_intervals(np.arange(5.0), np.zeros(5, np.int64), generator)).all()


def test_intervals_of_independent_documents_are_those_of_the_standard_error() -> None:
    generator = np.random.default_rng(1)
    values = generator.normal(3, 2, 400)
    low, high = document_intervals(values, np.arange(400), generator, draws=4000)
    error = values.std() / 20
    assert (low, high) == pytest.approx((values.mean() - 1.96 * error, values.mean() + 1.96 * error), abs=0.15 * error)
