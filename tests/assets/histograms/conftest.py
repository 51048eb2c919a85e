"""The models of these tests, loaded once: a gated model made by others, the planted one, and a random GPT-2."""

import json
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
import torch

from assets.model.language_model import LanguageModel
from assets.model.loading import load
from tests.assets.counting.made_batches import windows_frame
from tests.planted import planted_model
from tests.real_inputs import SHARED_REAL

STORIES = SHARED_REAL / "stories260k"


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny models are many times slower when threads wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def stories() -> LanguageModel:
    """The real gated model."""
    if not STORIES.is_dir():
        pytest.skip(f"{STORIES} is absent: set NEURON_ATLAS_REAL to the folder of the real inputs")
    return load.__wrapped__(STORIES, device="cpu")


@pytest.fixture(scope="session")
def planted_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the planted GPT-2."""
    folder = tmp_path_factory.mktemp("planted") / "model"
    planted_model(folder)
    return folder


@pytest.fixture(scope="session")
def planted(planted_folder: Path) -> LanguageModel:
    """The planted GPT-2 as the product reads it."""
    return load.__wrapped__(planted_folder, device="cpu")


@pytest.fixture(scope="session")
def stories_windows(stories: LanguageModel) -> pl.DataFrame:
    """24 stories cut into windows of 5 to 60 tokens, two windows from every third story."""
    with (SHARED_REAL / "tinystories-1000.jsonl").open() as lines:
        texts = [json.loads(next(lines))["text"] for _ in range(24)]
    ids, documents = [], []
    for document, text in enumerate(texts):
        tokens = stories.tokenizer(text, add_special_tokens=False)["input_ids"]
        length = 4 + (document * 7) % 56
        cuts = [tokens[:length]] if document % 3 else [tokens[:length], tokens[length : 2 * length]]
        ids += [[stories.facts.beginning_token_id, *cut] for cut in cuts]
        documents += [document] * len(cuts)
    return windows_frame(ids, documents)
