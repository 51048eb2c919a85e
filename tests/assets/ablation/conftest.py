"""The models and the small corpora that the tests of the ablation stage share."""

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
import torch

from assets.model.loading import load
from tests.assets.ablation.small_corpus import Studied, corpus_windows, random_windows
from tests.assets.prompts.tiny_models import FAMILIES, save_tiny_model
from tests.planted import planted_corpus, planted_model
from tests.slow_patching import plain_model


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny models are many times slower when threads wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _studied(folder: Path, windows: pl.DataFrame) -> Studied:
    return Studied(load(folder, device="cpu"), plain_model(folder), windows)


@pytest.fixture(scope="session", params=FAMILIES)
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Studied:
    """A random model of each architecture and twelve documents of random tokens."""
    return _studied(save_tiny_model(tmp_path_factory.mktemp("models") / request.param, request.param), random_windows(12))


@pytest.fixture(scope="session")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Studied:
    """The model whose neurons are written by hand, and its corpus."""
    folder = planted_model(tmp_path_factory.mktemp("models") / "planted")
    model = load(folder, device="cpu")
    return _studied(folder, corpus_windows(model, planted_corpus(tmp_path_factory.mktemp("corpus"))))
