"""Dagster assets of the corpus stage: corpus_documents, token_windows."""

from pathlib import Path
from tempfile import TemporaryDirectory

import dagster as dg

from assets.corpus.corpus_documents import read_corpus
from assets.corpus.source_rows import CorpusError
from assets.corpus.token_windows import refuse_unknown_entries, shard_of, token_windows
from assets.model.loading import model_folder
from assets.study import Study
from assets.wiring import study_asset
from assets.work import Work


def corpus_assets(study: Study) -> list[dg.AssetsDefinition]:
    """The study's assets of this stage."""
    return [study_asset(study, "corpus_documents", _corpus_documents), study_asset(study, "token_windows", _token_windows)]


def _corpus_documents(work: Work) -> None:
    choice = work.study.corpus
    with TemporaryDirectory(dir=work.draft.folder) as folder:
        corpus = read_corpus(work.study, Path(folder), work.tell)
        work.write_in_parts("corpus_documents", corpus.documents)
    work.write("corpus_domains", corpus.domains)
    work.write("corpus_files", corpus.files)
    work.draft.provenance["corpus"] = f"{choice.id or ', '.join(choice.files)}@{corpus.commit or corpus.fingerprint[:12]}"
    work.state(
        documents=corpus.kept, empty=corpus.empty, duplicates=corpus.duplicates, domains=corpus.domains.height,
        commit=corpus.commit or "local files", fingerprint=corpus.fingerprint,
    )  # fmt: skip
    work.show(rows_read=corpus.rows_read, characters=corpus.characters, files=corpus.files.height)


def _token_windows(work: Work) -> None:
    from assets.model.loading import load_tokenizer

    study, total = work.study, work.fact("corpus_documents", "documents")
    if total < study.shards:
        raise CorpusError(f"study {study.name}: shards {study.shards} is more than the corpus's {total} documents; choose at most that")
    rows = shard_of(total, study.shard_names.index(str(work.shard)), study.shards)
    documents = work.scan("corpus_documents").slice(rows.start, len(rows)).collect()
    windows = token_windows(
        load_tokenizer(model_folder(work)),
        work.fact("model_snapshot", "beginning_token_id"),
        work.fact("model_snapshot", "vocabulary"),
        documents,
        study.corpus.context_length,
        study.corpus.windows,
    )
    refuse_unknown_entries(windows, work.fact("model_snapshot", "vocabulary"), study)
    work.write("token_windows", windows)
    work.state(windows=windows.height)
    work.show(documents=documents.height, tokens=int(windows["length"].sum()))
