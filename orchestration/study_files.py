"""Which study a command is about: one by path, or one of the deployment's by name."""

from pathlib import Path

from assets.study import Study, StudyError, read_study, study_files
from orchestration.settings import Settings


def find_study(given: str, settings: Settings) -> Study:
    """A study by path, or by name in the deployment's folder. Raises StudyError listing the names there are."""
    if given.endswith((".yaml", ".yml")) or "/" in given:
        return read_study(Path(given))
    file = settings.studies / f"{given}.yaml"
    if not file.is_file():
        names = ", ".join(path.stem for path in study_files(settings.studies)) or "none"
        raise StudyError(f"study {given!r}: no such study in {settings.studies}; there are: {names}. Or give the path of a .yaml file")
    return read_study(file)
