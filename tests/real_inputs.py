"""Where the real inputs lie: models, text and a tokenizer made by others, beside the repository and not in it; and how a study of them is run."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from assets.deployment import Deployment
    from assets.study import Study

SHARED_REAL = Path(os.environ.get("NEURON_ATLAS_REAL", Path(__file__).resolve().parents[2] / "shared" / "real"))
STUDIES = Path(__file__).parent / "studies"


def published_study(name: str, model: Path, documents: int, folder: Path, **fields: Any) -> "tuple[Study, Deployment]":
    """A study of tests/studies on the model and the first documents, run into `folder`; `fields` replace its own. Blocking checks hold."""
    import dagster as dg
    import yaml

    from assets.study import read_study
    from orchestration.run import faults_of, run_study
    from orchestration.settings import Settings

    file = folder / f"{name}.yaml"
    given = yaml.safe_load((STUDIES / file.name).read_text()) | fields
    given["model"]["id"] = str(model)
    given["corpus"] |= {"files": [str(SHARED_REAL / "tinystories-1000.jsonl")], "documents": documents}
    file.write_text(yaml.safe_dump(given))
    study, settings = read_study(file), Settings(data=folder / "data", studies=folder, site_url="")
    with dg.DagsterInstance.ephemeral() as instance:
        result = run_study(study, settings, instance)
    assert result.success, faults_of(result)
    failed = [check.check_name for check in result.get_asset_check_evaluations() if not check.passed]
    assert [name for name in failed if not name.endswith("_warnings")] == []
    return study, settings.deployment
