"""A study's model as its run recorded it: found by the published model_snapshot, its files verified, loaded once and kept until another is
asked for. For commands and servers; stages are given theirs (assets/model/loading.py)."""

import gc

from assets.contracts import TABLES
from assets.freshness import Freshness
from assets.heavy_imports import heavy_imports
from assets.model.language_model import LanguageModel
from assets.model.loading import load, load_choice
from assets.model.model_snapshot import refuse_changed_files, snapshot_folder
from assets.store import Record, Store
from assets.study import Study
from assets.tables import read_table
from assets.tried_text.given_text import named_neurons, refuse_neurons, refuse_text, text_ids
from assets.tried_text.tried_text import TriedText, tried_text

SNAPSHOT = "model_snapshot"


class StudyModels:
    """One loaded model at a time. Not for two threads at once: who calls lets them take turns."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._held: LanguageModel | None = None
        self._key: tuple[str, ...] = ()
        self._threads = 0  # of torch before any model: a small model sets them to one

    def snapshot(self, study: Study) -> Record:
        """The study's model_snapshot. Raises StoreError, which says what to run, where it is missing or of another version of the study."""
        return Freshness(study, self.store).current(SNAPSHOT)

    def model_of(self, study: Study) -> LanguageModel:
        """The study's model, the one that is held or loaded in its place.

        Raises StoreError as `snapshot` does, and ModelError for files that are no longer those that the snapshot lists.
        """
        snapshot = self.snapshot(study)
        key = (snapshot.content, study.model.device, study.model.linear_maps)
        if self._held is None or key != self._key:
            self.free()
            self._held, self._key = self._loaded(study, snapshot), key
        return self._held

    def free(self) -> None:
        """Give back the memory of the model that is held, before another is loaded beside it."""
        if self._held is None:
            return
        import torch

        self._held = None
        load.cache_clear()
        gc.collect()  # a model's parts know each other
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _loaded(self, study: Study, snapshot: Record) -> LanguageModel:
        with heavy_imports("torch"):
            import torch

        self._threads = self._threads or torch.get_num_threads()
        torch.set_num_threads(self._threads)
        with self.store.reading():
            self.store.verify(snapshot)
            files = read_table(snapshot, TABLES[SNAPSHOT])
        folder = snapshot_folder(study, snapshot, files)
        refuse_changed_files(files, folder)
        return load_choice(folder, study)


def tried_by(models: StudyModels, study: Study, text: str, neurons: str) -> TriedText:
    """A text read by the model of a study. `neurons` is a list such as "L1 N3, L2 N7", or empty.

    Raises TextError for what cannot be tried, before the model is loaded where that can be told without it, and what `model_of` raises.
    """
    refuse_text(text)
    chosen = named_neurons(neurons)
    model = models.model_of(study)
    refuse_neurons(model.facts, chosen)
    return tried_text(model, text_ids(model, text), chosen)
