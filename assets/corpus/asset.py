"""Dagster assets of the corpus stage: corpus_documents, token_windows."""

import dagster as dg

from assets.corpus.corpus_documents import CorpusError, read_corpus
from assets.corpus.token_windows import refuse_unknown_entries, shard_of, token_windows
from assets.model.loading import model_folder
from assets.study import Study
from assets.wiring import study_asset
from assets.work import Work


def corpus_assets(study: Study) -> list[dg.AssetsDefinition]:
    """The study's assets of this stage."""
    return [study_asset(study, "corpus_documents", _corpus_documents), study_asset(study, "token_windows", _token_windows)]


def _corpus_documents(work: Work) -> None:
    corpus = read_corpus(work.study)
    if corpus.documents.height < work.study.shards:
        raise CorpusError(f"study {work.study.name}: shards {work.study.shards} is more than the corpus's {corpus.documents.height} documents; "
                          "choose at most that")  # fmt: skip
    work.write("corpus_documents", corpus.documents)
    work.draft.provenance["corpus"] = (
        f"{work.study.corpus.id or ', '.join(work.study.corpus.files)}@{corpus.commit or corpus.fingerprint[:12]}"
    )
    work.draft.summary.update(
        documents=corpus.documents.height, rows_read=corpus.rows_read, empty=corpus.empty, duplicates=corpus.duplicates,
        characters=int(corpus.documents["characters"].sum()), commit=corpus.commit or "local files", fingerprint=corpus.fingerprint,
    )  # fmt: skip


def _token_windows(work: Work) -> None:
    from assets.model.loading import load_tokenizer

    snapshot, corpus = work.inputs["model_snapshot"].summary, work.study.corpus
    rows = shard_of(work.inputs["corpus_documents"].summary["documents"], work.study.shard_names.index(str(work.shard)), work.study.shards)
    documents = work.scan("corpus_documents").slice(rows.start, len(rows)).collect()
    windows = token_windows(
        load_tokenizer(model_folder(work)),
        snapshot["beginning_token_id"],
        documents,
        corpus.context_length,
        corpus.windows,
    )
    refuse_unknown_entries(windows, snapshot["vocabulary"], work.study)
    work.write("token_windows", windows)
    work.draft.summary.update(documents=documents.height, windows=windows.height, tokens=int(windows["length"].sum()))
