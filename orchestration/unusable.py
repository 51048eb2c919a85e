"""Study files that cannot be used: a group of their own in the UI, so that one of them does not take all other studies with it.

A run's process loads every study of the folder anew; were it to stop at the first fault, a slip of the pen in one file would end
the schedules of all. Commands over all studies (retention, make across) do stop: they must not take a study for given up.
"""

import re
import sys
from collections.abc import Mapping
from pathlib import Path

import dagster as dg

from assets.claims.claims import read_claims
from assets.errors import InputError
from assets.study import Study, StudyError, read_study, study_files
from orchestration.jobs import study_schedule

GROUP = "studies_with_faults"


def usable_studies(folder: Path) -> tuple[list[Study], dict[Path, str]]:
    """The studies of a folder, by name, and what is wrong with each file that is none. Raises StudyError if there is no such folder."""
    if not folder.is_dir():
        raise StudyError(f"{folder}: no such folder of studies; correct NEURON_ATLAS_STUDIES")
    studies, faults = [], {}
    for file in study_files(folder):
        try:
            study = read_study(file)
            read_claims(study)
            study_schedule(study)
            studies.append(study)
        except InputError as error:
            faults[file] = str(error)
    return studies, faults


def fault_assets(faults: Mapping[Path, str]) -> list[dg.AssetSpec]:
    """One asset that nothing makes for each file with a fault; its description is the sentence. Also said on the error stream."""
    specs: dict[dg.AssetKey, dg.AssetSpec] = {}
    for file, fault in faults.items():
        print(f"This study is left out until its file is mended. {fault}", file=sys.stderr)
        name = re.sub(r"\W", "_", file.stem, flags=re.ASCII)
        while (key := dg.AssetKey([GROUP, name])) in specs:  # "a b" and "a_b"
            name += "_"
        specs[key] = dg.AssetSpec(key, group_name=GROUP, description=f"Left out until it is mended, then Deployment, Reload. {fault}")
    return list(specs.values())
