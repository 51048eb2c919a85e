"""The prompts that the benchmark measures on are the published ones, as GPT-2's own tokenizer reads them."""

import pytest

from assets.model.loading import load_tokenizer
from assets.prompts.prompts import prompt_pairs
from assets.study import read_study
from benchmarks.neuron_patching import published_prompt
from orchestration.settings import SHIPPED_STUDIES
from tests.real_inputs import SHARED_REAL

TOKENIZER = SHARED_REAL / "gpt2_tokenizer"


@pytest.mark.skipif(not TOKENIZER.is_dir(), reason=f"the real inputs are not at {SHARED_REAL}")
def test_the_benchmark_patches_the_published_prompts_token_by_token() -> None:
    tokenizer = load_tokenizer(TOKENIZER)
    published = read_study(SHIPPED_STUDIES / "an-neuron-gpt2-large.yaml").prompts[0]
    measured = published_prompt()
    for text, ids in ((published.text, measured.clean), (published.corrupt, measured.corrupt)):
        assert ids is not None
        assert tokenizer.decode(ids) == f"<|endoftext|>{text}"
        assert list(ids[1:]) == tokenizer(text, add_special_tokens=False)["input_ids"]
    assert [tokenizer.decode([answer]) for answer in (measured.answer_id, measured.wrong_answer_id)] == [
        published.answer,
        published.wrong_answer,
    ]
    (pair,) = prompt_pairs([measured])
    assert (pair.positions, pair.first_difference) == (20, 16)
