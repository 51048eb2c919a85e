"""Claims files: what is accepted, the sentence that each fault gets, and that no claims file is taken for a study."""

from pathlib import Path

import pytest
import yaml

from assets.claims.claims import ClaimsError, parse_claims, read_claims
from assets.claims.quantities import QUANTITIES
from assets.study import read_studies, read_study
from orchestration.settings import SHIPPED_STUDIES
from tests.assets.test_study import BILLIONS

CLAIM = {"claim": "It says an.", "quantity": "congruence", "of": {"token": " an", "neuron": [31, 892]}, "expected": 2, "tolerance": 0.1, "convention": "published"}  # fmt: skip


def write(folder: Path, *claims: dict, **fields: object) -> Path:
    file = folder / "mine.claims.yaml"
    file.write_text(yaml.safe_dump({"source": "a post", "claims": list(claims), **fields}))
    return file


def test_a_claim_takes_the_files_source_unless_it_names_its_own(tmp_path: Path) -> None:
    first, second = parse_claims(write(tmp_path, CLAIM, {**CLAIM, "claim": "Again.", "source": "a reply"}))
    assert (first.source, second.source) == ("a post", "a reply")
    assert (first.expected, first.of.neuron) == (2.0, (31, 892))
    assert str(first.of) == "token ' an', layer 31 neuron 892"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"quantity": "beauty"}, "field claims.0.quantity: given 'beauty'; allowed are prompt_probability, prompt_logit, "),
        ({"of": {"token": " an"}}, "field claims.0: quantity congruence needs of: token, neuron; given token"),
        ({"of": {"token": " an", "neuron": [1, 2], "layer": 3}}, "needs of: token, neuron; given layer, neuron, token"),
        (
            {"quantity": "head_improvement", "of": {"prompt": "apple", "layer": 1, "position": 4}},
            "needs of: prompt, layer, head, position; given",
        ),
        (
            {"quantity": "head_improvement", "of": {"prompt": "a", "layer": 1, "head": -1, "position": 4}},
            "field claims.0.of.head: given -1; input",
        ),
        ({"of": {"token": " an", "neuron": "worst"}}, "given 'worst'; input should be 'best'"),
        (
            {"quantity": "evidence_verdict", "of": {"token": " an", "neuron": "best", "line": "patching"}},
            "quantity evidence_verdict: line: given 'patching'; allowed are writes, goes_along, ",
        ),
        (
            {"quantity": "candidate_rank", "of": {"token": " an", "neuron": "best", "line": "writes"}},
            "quantity candidate_rank: line: given 'writes'; allowed are separation, ",
        ),
        ({"of": {"token": " an", "nueron": [1, 2]}}, "field claims.0.of.nueron: unknown (given [1, 2]); see docs/claims.md for the fields"),
        (
            {"quantity": "highest_congruence", "of": {"neuron": "best"}},
            "neuron: best is the best neuron by AUROC, in either direction, and this quantity has no token; give [layer, neuron]",
        ),
        (
            {"quantity": "highest_congruence", "of": {"neuron": "writer_against"}},
            "neuron: writer_against is the neuron that writes against the token most, and this quantity has no token; give [layer, neuron]",
        ),
        (
            {"quantity": "candidate_rank", "of": {"token": " an", "neuron": [1, 2], "line": "luck"}},
            "field claims.0.of.line: given 'luck'; input should be 'separation', 'average_precision', ",
        ),
        ({"quantity": "candidate_rank", "of": {"token": " an", "neuron": "writer"}}, "needs of: token, neuron, line; given neuron, token"),
        ({"tolerance": -1}, "field claims.0.tolerance: given -1.0; input should be greater than or equal to 0"),
        ({"expected": "much"}, "field claims.0.expected: given 'much'; input should be a valid number"),
        ({"convention": "mine"}, "field claims.0.convention: given 'mine'; input should be 'published' or 'correct'"),
        ({"expected": float("nan")}, "field claims.0.expected: given nan; input should be a finite number"),
    ],
)
def test_a_fault_is_told_with_file_field_value_and_what_is_allowed(tmp_path: Path, change: dict, sentence: str) -> None:
    file = write(tmp_path, {**CLAIM, **change})
    with pytest.raises(ClaimsError) as caught:
        parse_claims(file)
    assert str(caught.value).startswith(f"{file}: field claims.0")
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("- 1", "holds list, not fields; allowed are source and claims"),
        ("claims: [", "not readable as YAML: "),
        ("source: x", "field claims: missing; it must be given"),
        ("claims: []", "tuple should have at least 1 item"),
        ("claims: &all [*all]", "an alias stands for what it is part of (line 1, column 9)"),
        (BILLIONS, "holds more than 200,000 values"),
        ("claims: [{expected: " + "9" * 400 + "}]", "is a number of too many digits"),
        ("source: a\nsource: b\n", "not readable as YAML: field 'source' is given twice (line 2, column 1)"),
        ("1: 2", "fields [1] must be texts; allowed are source and claims"),
        ("[" * 2000, "not readable as YAML: maximum recursion depth exceeded"),
        ("!!python/object/apply:os.system ['true']", "could not determine a constructor for the tag"),
        ('source: "\\ud800"', "holds half a character (a lone surrogate)"),
    ],
)
def test_a_file_that_holds_no_claims_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    file = tmp_path / "mine.claims.yaml"
    file.write_text(text)
    with pytest.raises(ClaimsError) as caught:
        parse_claims(file)
    assert sentence in str(caught.value)


def test_a_claims_file_that_is_none_is_told_and_not_taken_for_no_claims(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("model: {id: m}\ncorpus: {files: [x.txt]}\ntokens: [' an']\n")
    study, file = read_study(tmp_path / "mine.yaml"), tmp_path / "mine.claims.yaml"
    file.symlink_to("nowhere")
    with pytest.raises(ClaimsError, match="leads to no file; mend the link or remove it"):
        read_claims(study)
    file.unlink()
    file.mkdir()
    with pytest.raises(ClaimsError, match="is a folder; give a YAML file"):
        read_claims(study)


def test_a_claim_without_a_source_and_a_claim_given_twice_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ClaimsError, match=r"\['It says an\.'\] without a source"):
        parse_claims(write(tmp_path, CLAIM, source=""))
    with pytest.raises(ClaimsError, match=r"\['It says an\.'\] given twice"):
        parse_claims(write(tmp_path, CLAIM, CLAIM))


def test_a_claims_file_is_no_study_and_a_study_without_one_has_no_claims(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("model: {id: m}\ncorpus: {files: [x.txt]}\ntokens: [' an']\n")
    assert read_claims(read_study(tmp_path / "mine.yaml")) == ()
    write(tmp_path, CLAIM)
    (study,) = read_studies(tmp_path)
    assert [claim.claim for claim in read_claims(study)] == ["It says an."]


def test_the_shipped_claims_are_valid_and_belong_to_a_shipped_study() -> None:
    by_study = {study.name: len(read_claims(study)) for study in read_studies(SHIPPED_STUDIES)}
    files = {file.name.removesuffix(".claims.yaml") for file in SHIPPED_STUDIES.glob("*.claims.yaml")}
    assert files == {name for name, amount in by_study.items() if amount}
    assert by_study["demo"] >= 5
    assert by_study["an-neuron-gpt2-large"] >= 140  # the published table, row by row


def test_every_quantity_stands_in_the_documentation_with_what_it_needs() -> None:
    text = (Path(__file__).parents[3] / "docs" / "claims.md").read_text()
    for quantity in QUANTITIES.values():
        needs = ", ".join(f"`{name}`" for name in quantity.needs) or "–"
        assert f"| `{quantity.name}` | {needs} | {quantity.meaning}" in text
