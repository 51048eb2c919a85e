"""Families that depart from GPT-2's build, against plain Hugging Face code: counts, direct effects, patching, ablation, what feeds a neuron.

All others are tried by the slow test of docs/models.md (tests/test_models_page.py).
"""

import pytest

from tests.family_checks import CHECKS, Case
from tests.hostile.tiny_models import tiny_model
from tests.model_families import FAMILIES
from tests.models_page import ALLOWED

QUICK = ("Gemma 2", "OLMo 2", "Granite", "Cohere", "GPT-Neo", "MPT")  # a way of each kind in which a model departs from GPT-2's
"""Norms on both sides with local attention and a cap; norms behind alone; factors; a scaled unembedding; windows kept in the model; ALiBi."""


@pytest.fixture(scope="module", params=QUICK)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    family = FAMILIES[request.param]
    return Case.of(tiny_model(tmp_path_factory.mktemp("family") / "model", family.kind, **family.fields))


@pytest.mark.parametrize("check", CHECKS)
def test_a_family_is_measured_as_plain_code_measures_it(case: Case, check: str) -> None:
    assert CHECKS[check](case) <= ALLOWED
