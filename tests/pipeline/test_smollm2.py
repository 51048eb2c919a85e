"""The published question asked of SmolLM2-135M, which nobody tuned this code to: what is known of its neurons stands in the tables
and in the report's sentences.

CI runs a part of the text; NEURON_ATLAS_REAL_DOCUMENTS=1000 runs the whole. The model is made by a script beside the repository, in
about a minute; NEURON_ATLAS_SMOLLM2 names a folder that keeps it.
"""

import os
import subprocess
import sys
from pathlib import Path

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
    """The study run over the first documents, with few layers patched and nothing ablated."""
    place = tmp_path_factory.mktemp("study")
    study, deployment = published_study(
        "smollm2", folder, DOCUMENTS, place, patching_layers=[23, 25, 29], ablation_positions=0, examples=2
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


def test_contributions_are_those_of_plain_code_on_sampled_neurons(published: tuple[Study, Store, Path], folder: Path) -> None:
    """One loop over documents in plain Hugging Face code, without its norms' gain but by definition: activation x weights / scale."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(str(folder), attn_implementation="eager", dtype=torch.float32).eval()
    sample = [WRITER, DECIDER, AGAINST, (0, 3), (11, 700), (17, 1535)]
    token_id = table(published, "tracked_tokens").filter(token=" a")["token_id"].item()
    effects: list[list[float]] = []
    predicted: list[bool] = []
    record = published[1].find(Place(published[0].name, "token_windows", "0000"))
    assert record is not None
    seen: dict[str, torch.Tensor] = {}
    for layer, block in enumerate(model.model.layers):
        block.mlp.down_proj.register_forward_pre_hook(lambda module, given, layer=layer: seen.__setitem__(str(layer), given[0][0]))
    model.model.norm.register_forward_pre_hook(lambda module, given: seen.__setitem__("norm", given[0][0]))
    direction = model.model.norm.weight.double() * model.lm_head.weight[token_id].double()
    weights = {
        which: float(model.model.layers[which[0]].mlp.down_proj.weight[:, which[1]].double().detach() @ direction.detach())
        for which in sample
    }
    with torch.no_grad():
        for ids in read_table(record.folder, TABLES["token_windows"])["token_ids"].to_list():
            predicted += (model(torch.tensor([ids])).logits[0, 1:].argmax(-1) == token_id).tolist()
            scale = (seen["norm"][1:].double().square().mean(-1) + model.model.norm.variance_epsilon).sqrt()
            for place in range(len(ids) - 1):
                effects.append(
                    [float(seen[str(layer)][place + 1, number]) * weights[layer, number] / float(scale[place]) for layer, number in sample]
                )
    here, values = np.array(predicted), np.array(effects)
    expected = values[here].mean(0) - values[~here].mean(0)
    contributions = table(published, "contributions").filter(token=" a")
    found = [contributions.filter(neuron(which))["contribution"].item() for which in sample]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
