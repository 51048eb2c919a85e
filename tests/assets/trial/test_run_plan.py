"""The plan of a run: estimates worked out by hand, what went before beats them, and a dozen lines at most."""

from dataclasses import replace

import pytest

from assets.trial.run_plan import (
    AT_MOST,
    BEFORE,
    BETWEEN_AND_RANDOM,
    BYTES_OF_EXAMPLE,
    BYTES_OF_NEURON,
    ESTIMATED,
    PASS,
    SECONDS_OF_ATLAS,
    SECONDS_OF_CHOICE,
    SECONDS_OF_KEPT,
    SECONDS_OF_PROBES,
    SECONDS_OF_PRODUCT,
    Earlier,
    Planned,
    Sizes,
    bytes_of_atlas,
    estimates,
    plan_lines,
    planned,
)

SIZES = Sizes(
    layers=2, neurons=400, width=100, vocabulary=400, told=3, outcomes=2, positions=10_000, shards=2, calibration=131_072, changed=(3, 1),
    pairs_of_sets=5, patched_layers=(0, 1), named=1, best=5, context=50, ablation=8, kept=0,
)  # fmt: skip
# Multiplications of a position: 2 x (4 x 100 x 100 + 2 x 100 x 400) = 240,000 in blocks and 400 x 100 = 40,000 in the unembedding.
BLOCK = 240 / 280 / 2  # of a position's time


def seconds(sizes: Sizes, rate: float = 1000.0) -> dict[str, float | None]:
    return {stage: took for stage, (took, _) in estimates(sizes, rate).items()}


def test_estimates_are_those_worked_out_by_hand() -> None:
    found = seconds(SIZES)
    assert found[PASS] == pytest.approx(10 * 1.4)
    assert found["activation_bins"] == pytest.approx(5 * 240 / 280)  # the first shard, without logits
    # Variants times positions times blocks: prompts of 3 and of 1 changed positions, one head and three whole components, blocks 2 + 1.
    # The strongest patch of each component and layer is done again in a forward pass of its own, worth 64 positions.
    assert found["activation_patching"] == pytest.approx((9 + 1) * 4 * 3 * BLOCK / 1000 * 1.5 + 2 * 4 * 2 * 64 / 1000)
    # All changed positions of 7 in 10 neurons, 3 + 1, and the last one alone, 1 + 1, of the 256 of 400 neurons that are run at least, through 2 + 1 blocks.
    assert found["neuron_patching"] == pytest.approx((4 * 280 + 2 * 256) * 3 * BLOCK / 1000 * 1.5 + 2 * 2 * 2 * 64 / 1000)
    # One position of 256 neurons through 2 + 1 blocks for each of five pairs; its prompts run four times, once backwards (two more), and once for each layer.
    assert found["prompt_set_patching"] == pytest.approx(5 * (256 * 3 * BLOCK / 1000 * 1.5 + (2 + 6) * 64 / 1000))
    # 800 neurons x 40,000 multiplications, in two conventions and of the input side, of 280,000 a position; half as much again for what is done with them.
    assert found["congruence"] == pytest.approx(3 * 1.5 * 800 * 40 / 280 / 1000)
    # 70 studied neurons with 10 texts of 25 positions up to the peak.
    assert found["neuron_inputs"] == pytest.approx(70 * 10 * 25 * 240 / 280 / 1000)
    # 3 x 8 windows of 50; at 8 positions of each kind 70 studied neurons and 3 x 2 x 100 controls under four ablations, through half a block.
    assert found["neuron_ablation"] == pytest.approx(24 * 50 / 1000 + 2 * 8 * 4 * (70 + 600) * BLOCK / 2 / 1000 * 1.5)
    # Three tokens under two outcomes and 800 neurons in two shards; pages of the 70, and no atlas.
    assert found["merged_histograms"] == pytest.approx(3 * 2 * 800 * 2 * 1.3e-5)
    assert found["report_site"] == pytest.approx(70 * 0.15)
    assert seconds(replace(SIZES, atlas_examples=4))["report_site"] == pytest.approx(70 * 0.15 + 800 * 2e-4)


def test_sparse_probes_read_a_layer_for_all_tokens_and_fit_each_by_itself() -> None:
    assert seconds(SIZES)["sparse_probes"] == 0
    assert seconds(replace(SIZES, kept=1000))["sparse_probes"] == pytest.approx(800 * 1000 * SECONDS_OF_KEPT + 3 * 2 * SECONDS_OF_PROBES)


def test_the_atlas_grows_with_its_neurons_and_with_their_pairs() -> None:
    assert seconds(SIZES)["atlas"] == 0
    # 800 neurons; 640,000 pairs by 2 x 100 coordinates, then by as many positions as are background too, half of them for either.
    of_weights = 800 * SECONDS_OF_ATLAS + 640_000 * (100 * SECONDS_OF_PRODUCT + 3 * SECONDS_OF_CHOICE)
    assert seconds(replace(SIZES, atlas_examples=6))["atlas"] == pytest.approx(of_weights)
    for kept, compared in ((600, 300), (8192, 1024)):
        found = seconds(replace(SIZES, atlas_examples=6, kept=kept))["atlas"]
        assert found == pytest.approx(of_weights + 640_000 * compared / 2 * SECONDS_OF_PRODUCT)


def test_a_faster_machine_takes_less_and_a_larger_corpus_more_of_the_pass_alone() -> None:
    once, fast, large = seconds(SIZES), seconds(SIZES, 2000.0), seconds(replace(SIZES, positions=20_000))
    assert fast[PASS] == pytest.approx((once[PASS] or 0) / 2)
    assert {stage for stage in once if large[stage] != once[stage]} == {PASS, "activation_bins"}


def test_no_more_than_the_calibration_is_read_and_bins_of_the_study_s_own_take_no_time() -> None:
    assert seconds(replace(SIZES, positions=10**9))["activation_bins"] == pytest.approx(131.072 * 240 / 280)
    assert seconds(replace(SIZES, calibration=0, positions=None))["activation_bins"] == 0


def test_studied_neurons_are_bounded_by_the_lines_of_evidence_and_by_the_model() -> None:
    assert replace(SIZES, pairs_of_sets=0).studied == 1 + 3 * (5 + 8 * 2)
    assert replace(SIZES, pairs_of_sets=0, best=1).studied == 1 + 3 * (1 + 8 * 1)
    assert SIZES.studied == 1 + 3 * (5 + 9 * 2)  # prompt sets are one line more
    assert replace(SIZES, neurons=10).studied == 20
    assert estimates(SIZES, 1.0)["neuron_ablation"][1] == AT_MOST


def test_what_ran_before_beats_an_estimate_and_the_pass_grows_with_the_positions() -> None:
    earlier = {PASS: Earlier(30.0, 5_000), "congruence": Earlier(7.0, 5_000)}
    guessed = {PASS: (99.0, ESTIMATED), "neuron_ablation": (12.0, AT_MOST)}
    assert planned(dict.fromkeys([PASS, "congruence", "neuron_ablation", "candidates"], 1.0), earlier, 10_000, guessed) == [
        Planned(PASS, 60.0, "as before, for 2 times the positions"),
        Planned("congruence", 7.0, BEFORE),
        Planned("neuron_ablation", 12.0, AT_MOST),
        Planned("candidates", 0.0, ESTIMATED),
    ]
    assert planned({PASS: 1.0}, earlier, 5_000, {}) == [Planned(PASS, 30.0, BEFORE)]
    assert planned({PASS: 0.25}, earlier, 5_000, {}) == [Planned(PASS, 7.5, "as before, 25% of the shards")]


def test_the_plan_is_a_table_with_the_longest_first_and_what_it_is_made_from() -> None:
    plan = [Planned("short", 0.4, ESTIMATED), Planned(PASS, 600.0, BEFORE), Planned("congruence", 75.0, ESTIMATED)]
    assert plan_lines(plan, 40, SIZES, 1234.5) == [
        "Plan: 3 of 40 stages to make, 37 stand. What comes out as it was keeps what is made from it.",
        "  activation_histograms       10 min  as before",
        "  congruence                    75 s  estimated",
        "  all others                     0 s",
        "  in all                      11 min",
        "  about 10,000 positions, 2 x 400 neurons, 3 tokens and groups, at most 70 neurons studied; 1,234 positions a second through the model",
    ]


def test_the_size_of_the_atlas_is_told_where_it_is_to_be_made() -> None:
    sizes = replace(SIZES, layers=30, neurons=1536, atlas_examples=6)
    assert bytes_of_atlas(sizes) == 46_080 * (BYTES_OF_NEURON + (12 + BETWEEN_AND_RANDOM) * BYTES_OF_EXAMPLE)
    told = f"; about {round(bytes_of_atlas(sizes) / 1e6)} MB for the atlas of all neurons"
    assert plan_lines([Planned("atlas", 5.0, ESTIMATED)], 40, sizes, 9.0)[-1].endswith(told)
    assert "atlas" not in plan_lines([Planned("congruence", 5.0, ESTIMATED)], 40, sizes, 9.0)[-1]
    assert "for the atlas" not in plan_lines([Planned("atlas", 5.0, ESTIMATED)], 40, replace(sizes, atlas_examples=0), 9.0)[-1]
    assert plan_lines([Planned("atlas", 5.0, ESTIMATED)], 40, replace(SIZES, layers=1, atlas_examples=1), 9.0)[-1].endswith(
        "; about 1 MB for the atlas of all neurons"
    )


def test_what_nobody_knows_yet_is_said_and_the_table_stays_short() -> None:
    unknown = replace(SIZES, positions=None)
    guessed = estimates(unknown, 1.0)
    lines = plan_lines(planned(dict.fromkeys(guessed, 1.0), {}, None, guessed), 40, unknown, 1.0)
    assert "  activation_histograms            ?  known when the corpus has been read" in lines
    assert any(line.startswith("  in all") and line.endswith("and what is not known") for line in lines)
    assert len(lines) <= 12
    assert "about" not in lines[-1]


def test_nothing_to_make_is_one_line() -> None:
    assert plan_lines([], 40, SIZES, None) == ["Plan: all 40 stages stand; nothing is to be made."]
