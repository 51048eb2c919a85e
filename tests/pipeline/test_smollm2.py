"""The published question asked of SmolLM2-135M, which nobody tuned this code to: what is known of its neurons stands in the tables
and in the report's sentences.

CI runs a part of the text; NEURON_ATLAS_REAL_DOCUMENTS=1000 runs the whole. The model is made by a script beside the repository, in
about a minute; NEURON_ATLAS_SMOLLM2 names a folder that keeps it.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import pytest

from assets.contracts import TABLES
from assets.store import Place, Store
from assets.study import Study
from assets.tables import read_table
from tests.real_inputs import SHARED_REAL, published_study

MAKE = SHARED_REAL / "smollm2" / "make.py"
DOCUMENTS = int(os.environ.get("NEURON_ATLAS_REAL_DOCUMENTS", "30"))
WRITER, DECIDER, AGAINST = (29, 1326), (25, 1527), (29, 720)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not MAKE.is_file(), reason=f"the script that makes the model is not at {MAKE}: set NEURON_ATLAS_REAL"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model's folder, made unless it is there."""
    folder = Path(os.environ.get("NEURON_ATLAS_SMOLLM2") or tmp_path_factory.mktemp("smollm2") / "model")
    made = subprocess.run([sys.executable, str(MAKE), str(folder)], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"SmolLM2 cannot be made here: {made.stderr.strip().splitlines()[-1] if made.stderr.strip() else made.returncode}")
    return folder


@pytest.fixture(scope="module")
def published(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Store, Path]:
    """The study run over the first documents, with few layers patched, nothing ablated and an atlas of the studied neurons: everyone's
    neighbours take minutes where a core has no AVX-512, and test_real_study has an atlas of all neurons."""
    place = tmp_path_factory.mktemp("study")
    study, deployment = published_study(
        "smollm2", folder, DOCUMENTS, place, patching_layers=[23, 25, 29], ablation_positions=0, examples=2, atlas={"neurons": "studied"}
    )  # fmt: skip
    return study, deployment.store, deployment.site_folder(study.name)


def table(published: tuple[Study, Store, Path], name: str) -> pl.DataFrame:
    record = published[1].find(Place(published[0].name, TABLES[name].asset))
    assert record is not None
    return read_table(record.folder, TABLES[name])


def neuron(which: tuple[int, int]) -> pl.Expr:
    return (pl.col("layer") == which[0]) & (pl.col("neuron") == which[1])


def test_one_neuron_restores_most_of_the_prompts_difference(published: tuple[Study, Store, Path]) -> None:
    patched = table(published, "neuron_patching").filter(positions="last")
    for which, share in ((DECIDER, 0.6238), ((23, 1468), 0.4275), (WRITER, 0.0995)):
        assert patched.filter(neuron(which))["improvement"].item() == pytest.approx(share, abs=5e-4)
    assert patched.sort("improvement", descending=True).select("layer", "neuron").row(0) == DECIDER


def test_two_neurons_restore_three_quarters_and_a_later_one_adds_nothing(published: tuple[Study, Store, Path]) -> None:
    sets = table(published, "patched_neuron_sets")
    assert sets.select("layer", "neuron").rows()[:2] == [DECIDER, (23, 1468)]
    assert sets["restored"].to_list()[:2] == pytest.approx([0.6238, 0.7375], abs=5e-4)
    assert sets.filter(neuron(WRITER)).is_empty()  # 10 % alone, but the two alone drive it beyond its clean activation
    assert sets["is_told"].to_list() == [True] * 3 + [False] * (sets.height - 3)


def test_its_output_weights_write_the_words_for_an_before_all_others(published: tuple[Study, Store, Path]) -> None:
    written = table(published, "congruence_neurons").filter(neuron(DECIDER) & (pl.col("convention") == "logits") & (pl.col("end") == "top"))
    assert written.sort("rank")["token"].to_list() == [" an", "An", " An", "an", "AN"]


def test_every_line_sends_its_neurons_and_each_has_a_page(published: tuple[Study, Store, Path]) -> None:
    sent = table(published, "candidates")
    lines = {which: set(sent.filter(neuron(which))["line"]) for which in (DECIDER, AGAINST)}
    assert {"congruence", "patching"} <= lines[DECIDER]
    for_a = sent.filter((pl.col("token") == " a") & neuron(AGAINST))
    assert {"separation", "contribution_against"} <= set(for_a["line"])
    for layer, number in lines:
        assert (published[2] / f"neuron-{layer}-{number}.html").is_file()


def test_the_downward_predictor_of_a_writes_against_it(published: tuple[Study, Store, Path]) -> None:
    scores = table(published, "token_neuron_scores").filter(token=" a")
    best = scores.sort("separation", descending=True, nulls_last=True).row(0, named=True)
    assert ((best["layer"], best["neuron"]), best["direction"]) == (AGAINST, -1)
    contributions = table(published, "contributions").filter(token=" a").sort("contribution")
    assert contributions.select("layer", "neuron").row(0) == AGAINST


def test_the_report_names_what_decides_the_prompt_and_who_goes_along(published: tuple[Study, Store, Path]) -> None:
    answer = (published[2] / "index.html").read_text()
    assert 'neuron-25-1527.html">layer 25 neuron 1527</a> patched alone at the last position restores 62' in answer
    page = next(
        published[2] / f"token-{row['token_id']}.html" for row in table(published, "tracked_tokens").to_dicts() if row["token"] == " a"
    )
    assert "writes against it more than any other neuron" in page.read_text()


SAMPLE = [WRITER, DECIDER, AGAINST, (0, 3), (11, 700), (17, 1535)]


class Plain(NamedTuple):
    """What plain code says at every counted position."""

    predictions: np.ndarray  # [position]
    following: np.ndarray  # the next token, -1 where there is none [position]
    probabilities: np.ndarray  # of " a" and " an" [position, 2]
    activations: np.ndarray  # of SAMPLE [position, neuron]
    added: np.ndarray  # to the logits of " a" and " an" [position, neuron, 2]
    a: int
    an: int


@pytest.fixture(scope="module")
def plain(published: tuple[Study, Store, Path], folder: Path) -> Plain:
    """One loop over windows in plain Hugging Face code: activation x output weights x the norm's gain x unembedding / the norm's scale."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(str(folder), attn_implementation="eager", dtype=torch.float32).eval()
    tokens = table(published, "tracked_tokens")
    a, an = (tokens.filter(token=text)["token_id"].item() for text in (" a", " an"))
    record = published[1].find(Place(published[0].name, "token_windows", "0000"))
    assert record is not None
    seen: dict[str, torch.Tensor] = {}
    for layer, block in enumerate(model.model.layers):
        block.mlp.down_proj.register_forward_pre_hook(lambda module, given, layer=layer: seen.__setitem__(str(layer), given[0][0]))
    model.model.norm.register_forward_pre_hook(lambda module, given: seen.__setitem__("norm", given[0][0]))
    with torch.no_grad():
        vectors = (model.model.norm.weight.double() * model.lm_head.weight[[a, an]].double()).T  # [width, 2]
        weights = torch.stack([model.model.layers[layer].mlp.down_proj.weight[:, number].double() @ vectors for layer, number in SAMPLE])
        parts: list[tuple[np.ndarray, ...]] = []
        for ids in read_table(record.folder, TABLES["token_windows"])["token_ids"].to_list():
            logits = model(torch.tensor([ids])).logits[0, 1:]
            scale = (seen["norm"][1:].double().square().mean(-1) + model.model.norm.variance_epsilon).sqrt()
            here = torch.stack([seen[str(layer)][1:, number].double() for layer, number in SAMPLE], dim=1)  # [position, neuron]
            added = here[..., None] * weights / scale[:, None, None]
            shares = logits.double().softmax(-1)[:, [a, an]]
            parts.append((logits.argmax(-1).numpy(), np.array([*ids[2:], -1]), shares.numpy(), here.numpy(), added.numpy()))
    predictions, following, probabilities, activations, added = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Plain(predictions, following, probabilities, activations, added, a, an)


def mean_where(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return np.einsum("p,p...->...", weights, values) / weights.sum()


def of_sample(frame: pl.DataFrame, column: str) -> list[float]:
    return [frame.filter(neuron(which))[column].item() for which in SAMPLE]


def test_contributions_by_three_outcomes_are_those_of_plain_code_on_sampled_neurons(
    published: tuple[Study, Store, Path], plain: Plain
) -> None:
    every = np.ones(len(plain.following))
    known = (plain.following >= 0).astype(float)
    further = table(published, "outcome_contributions").filter(token=" a")
    cases = {
        "top_prediction": (table(published, "contributions").filter(token=" a"), (plain.predictions == plain.a).astype(float), every),
        "next_token": (further.filter(outcome="next_token"), (plain.following == plain.a).astype(float), known),
        "probability": (further.filter(outcome="probability"), plain.probabilities[:, 0], every),
    }
    for outcome, (found, here, read) in cases.items():
        expected = mean_where(plain.added[..., 0], here) - mean_where(plain.added[..., 0], read - here)
        np.testing.assert_allclose(of_sample(found, "contribution"), expected, rtol=1e-4, atol=1e-6, err_msg=outcome)
        counted = table(published, "token_outcomes").filter(token=" a", outcome=outcome)
        assert counted["cases"].item() == pytest.approx(here.sum(), rel=1e-6)
        assert counted["positions"].item() == read.sum()


def test_the_contrast_and_scores_in_both_directions_are_those_of_plain_code(published: tuple[Study, Store, Path], plain: Plain) -> None:
    """AUROC here is of every position's bin, taken from the activation of plain code."""
    is_a, is_an = plain.following == plain.a, plain.following == plain.an
    assert is_an.sum() >= 3
    told = table(published, "contrasts").filter(outcome="next_token", token=" an", other=" a")
    difference = plain.added[..., 1] - plain.added[..., 0]
    expected = mean_where(difference, is_an.astype(float)) - mean_where(difference, is_a.astype(float))
    np.testing.assert_allclose(of_sample(told, "contribution"), expected, rtol=1e-4, atol=1e-6)
    per_unit = np.array(of_sample(table(published, "activation_bins"), "per_unit"), np.float32)
    levels = np.floor(plain.activations.astype(np.float32) * per_unit)  # [position, neuron]
    aurocs = [area(levels[is_an, place], levels[is_a, place]) for place in range(len(SAMPLE))]
    np.testing.assert_allclose(of_sample(told, "auroc"), aurocs, atol=0.01)
    scores = table(published, "outcome_scores").filter(outcome="next_token", token=" a")
    others = (plain.following >= 0) & ~is_a
    aurocs = [area(levels[is_a, place], levels[others, place]) for place in range(len(SAMPLE))]
    np.testing.assert_allclose(of_sample(scores, "auroc"), aurocs, atol=0.001)
    assert of_sample(scores, "direction") == [1 if value >= 0.5 else -1 for value in aurocs]


def area(positives: np.ndarray, negatives: np.ndarray) -> float:
    """The share of pairs in which the positive is higher, a tie counting half."""
    return float(((positives[:, None] > negatives) + 0.5 * (positives[:, None] == negatives)).mean())


def test_a_group_adds_up_and_has_a_page(published: tuple[Study, Store, Path]) -> None:
    outcomes = table(published, "token_outcomes").filter(outcome="next_token")
    members = outcomes.filter(pl.col("token").is_in([" an", " An"]))["cases"].sum()
    assert outcomes.filter(token="an")["cases"].item() == members > 0
    number = table(published, "token_groups")["token_id"].unique().item()
    assert "A group that is told as one" in (published[2] / f"token-{number}.html").read_text()
