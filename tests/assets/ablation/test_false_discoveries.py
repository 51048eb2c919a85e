"""p-values corrected for how many were looked at: by hand, and against the definition written out."""

import numpy as np
import polars as pl
import pytest

from assets.ablation.false_discoveries import with_q_values


def effects(p_values: list[float], measure: str = "loss", ablation: str = "mean", positions: str = "predicted") -> pl.DataFrame:
    frame = pl.DataFrame({"neuron": range(len(p_values)), "p_value": p_values}, schema_overrides={"p_value": pl.Float64})
    return frame.with_columns(measure=pl.lit(measure), ablation=pl.lit(ablation), positions=pl.lit(positions))


def test_q_values_are_those_worked_out_by_hand() -> None:
    # Sorted 0.01 0.02 0.03 0.5; times 4 / rank: 0.04 0.04 0.04 0.5; each the least of those from its rank on.
    assert with_q_values(effects([0.03, 0.5, 0.01, 0.02]))["q_value"].to_list() == pytest.approx([0.04, 0.5, 0.04, 0.04])
    # 0.01 x 3 = 0.03, 0.04 x 3 / 2 = 0.06, 0.9: nothing to lower. A single test needs no correction.
    assert with_q_values(effects([0.04, 0.9, 0.01]))["q_value"].to_list() == pytest.approx([0.06, 0.9, 0.03])
    assert with_q_values(effects([0.3]))["q_value"].to_list() == [0.3]


def test_each_ablation_and_measure_is_a_family_of_its_own_apart_from_other_positions_and_rows_keep_their_order() -> None:
    parts = [
        effects([0.01, 0.02]),
        effects([0.01, 0.9], measure="logit"),
        effects([0.01, 0.9], ablation="zero"),
        effects([0.04, 0.01], positions="other"),
    ]
    mixed = pl.concat(parts).sample(fraction=1, shuffle=True, seed=4)
    found = with_q_values(mixed)
    assert found.drop("q_value").equals(mixed)
    wanted = {"loss mean predicted": [0.02, 0.02], "logit mean predicted": [0.02, 0.9], "loss zero predicted": [0.02, 0.9]}
    for (positions, ablation, measure), family in found.partition_by("positions", "ablation", "measure", as_dict=True).items():
        expected = wanted.get(f"{measure} {ablation} {positions}", [0.04, 0.02])
        assert family.sort("neuron")["q_value"].to_list() == pytest.approx(expected)


def test_one_family_holds_every_pair_that_is_told_whichever_positions_are_its_own() -> None:
    told = pl.concat([effects([0.01, 0.02]), effects([0.03, 0.5], positions="next_token")])
    found = with_q_values(pl.concat([told, effects([1e-9] * 40, measure="direct"), effects([1e-9] * 40, positions="other")]))
    assert found.head(4)["q_value"].to_list() == pytest.approx([0.04, 0.04, 0.04, 0.5])


def test_q_values_are_the_smallest_rate_at_which_the_step_up_procedure_keeps_a_row() -> None:
    p_values = np.random.default_rng(0).random(40) ** 2
    found = with_q_values(effects(p_values.tolist()))["q_value"].to_numpy()

    def is_kept(rate: float) -> np.ndarray:
        """Benjamini and Hochberg's rule: all p-values up to the largest that is at most rank x rate / tests."""
        ordered = np.sort(p_values)
        passing = [p for rank, p in enumerate(ordered, start=1) if p <= rank * rate / len(ordered) + 1e-15]
        return p_values <= max(passing, default=-1.0)

    for place, q_value in enumerate(found):
        assert is_kept(q_value + 1e-9)[place]
        assert not is_kept(q_value - 1e-9)[place]


def test_no_effects_have_no_q_values() -> None:
    assert with_q_values(effects([])).schema["q_value"] == pl.Float64
