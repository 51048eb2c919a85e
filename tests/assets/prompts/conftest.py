"""The models that the tests of the prompts stage share: three random architectures, the planted one, and a real one."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from assets.model.language_model import LanguageModel
from assets.model.loading import load
from assets.prompts.prompts import EncodedPrompt, encode_prompts
from assets.study import Prompt, PromptSet
from tests.assets.prompts.tiny_models import FAMILIES, save_tiny_model
from tests.planted import CLEAN_PROMPT, CORRUPT_PROMPT, planted_model
from tests.slow_patching import plain_model


@dataclass(frozen=True)
class Loaded:
    """A model as the product reads it, and the same folder as plain Hugging Face code reads it."""

    model: LanguageModel
    plain: Any
    folder: Path

    def encode(self, **fields: str) -> EncodedPrompt:
        """One prompt named `fruit`, by default the planted pair."""
        return encode_prompts(self.model, [fruit_prompt(**fields)])[0]


def fruit_prompt(**fields: str) -> Prompt:
    """The planted pair, with some fields given otherwise."""
    return Prompt(**{"name": "fruit", "text": CLEAN_PROMPT, "corrupt": CORRUPT_PROMPT, "answer": " an", "wrong_answer": " a", **fields})


def fruit_set(**fields: Any) -> PromptSet:
    """The planted pair's text with two fruits on each side, with some fields given otherwise."""
    given = {
        "name": "fruit",
        "text": "I climbed up the {fruit} tree and picked",
        "answer": " an",
        "fillers": ("apple", "orange"),
        "wrong_answer": " a",
        "corrupt_fillers": ("lemon", "pear"),
    }
    return PromptSet(**{**given, **fields})


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny models are many times slower when threads wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session", params=FAMILIES)
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    """A random model of each architecture."""
    folder = save_tiny_model(tmp_path_factory.mktemp("models") / request.param, request.param)
    return Loaded(load(folder, device="cpu"), plain_model(folder), folder)


@pytest.fixture(scope="session")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    """The model whose neurons are written by hand."""
    folder = planted_model(tmp_path_factory.mktemp("models") / "planted")
    return Loaded(load(folder, device="cpu"), plain_model(folder), folder)
