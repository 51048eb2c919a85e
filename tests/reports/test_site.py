"""The site as files: the same bytes for the same input, every link resolves, nothing runs, nothing comes from elsewhere."""

import json
import posixpath
import re
import shutil
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml

from assets.contracts import HISTOGRAM_TENSORS, TABLES, ContractError
from reports import site as site_module
from reports.downloads import NOT_COPIED
from reports.numbers import count, edge, fixed
from reports.pages.page import Page, neuron_page, token_page
from reports.report_data import ReportData
from reports.site import SiteError, UnplacedError, build_site, environment_of, pages_of, render, templates
from tests.reports.sample_data import AN, LAYERS, NEURONS, PLANTED, SCRIPT_TOKEN, empty_data, report_data, study, texts
from tests.told import steps_told

NOTICE = re.compile(r"not measured</span> (Of this model: .*)</p>")


class Parsed(HTMLParser):
    """Tags with their attributes, and the text outside scripts, of one page."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.scripts: list[str] = []
        self._inside = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        self._inside = tag if tag in ("script", "style") else ""
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""
        if tag in ("td", "th", "dd", "dt", "p", "li"):
            self.text += " "

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data
        else:
            self.text += data


def pages(folder: Path) -> dict[str, Parsed]:
    """By their path inside the site."""
    files = sorted(folder.rglob("*.html"))
    return {file.relative_to(folder).as_posix(): Parsed(file.read_text(encoding="utf-8")) for file in files}


def own_scripts(name: str) -> set[str]:
    """What a page may load: scripts of the site, seen from the page."""
    if not name.startswith("atlas/"):
        return {"static/site.js", "static/plotly.min.js"}
    return {"../static/site.js", *(f"../static/{file}" for file in site_module.OF_ATLAS), "data/contents.js"}


def test_equal_input_gives_equal_bytes(site: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    build_site(report_data(), again)
    first = {str(file.relative_to(site)): file.read_bytes() for file in site.rglob("*") if file.is_file()}
    second = {str(file.relative_to(again)): file.read_bytes() for file in again.rglob("*") if file.is_file()}
    assert first == second


def test_the_list_of_files_is_what_lies_there_and_ends_with_the_front_page(data: ReportData, tmp_path: Path) -> None:
    files = build_site(data, tmp_path)
    assert sorted(files) == sorted(str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*") if file.is_file())
    assert files[-1] == "index.html"


def test_every_token_neuron_and_prompt_has_its_page(site: Path) -> None:
    names = set(pages(site))
    assert {"token-11.html", "token-12.html", f"token-{SCRIPT_TOKEN}.html", "token-4.html", "token-13.html"} <= names
    assert {"neuron-1-17.html", "neuron-2-30.html", "prompt-apple.html", "prompt-plain.html"} <= names
    assert {"index.html", "congruence.html", "quality.html", "data.html"} <= names


def test_every_link_leads_to_a_file_of_the_site_and_every_anchor_exists(site: Path) -> None:
    parsed = pages(site)
    anchors = {name: {attributes.get("id") for _, attributes in page.tags} for name, page in parsed.items()}
    for name, page in parsed.items():
        for tag, attributes in page.tags:
            for link in filter(None, (attributes.get("href"), attributes.get("src"))):
                if link == "data:,":
                    continue
                path, _, anchor = link.partition("#")
                target = posixpath.normpath(posixpath.join(posixpath.dirname(name), path)) if path else name
                assert (site / target).is_file(), f"{name}: <{tag}> leads to {link}"
                found = re.fullmatch(r"L(\d+)-N(\d+)", anchor) if target == "atlas/neuron.html" else None
                if found:
                    assert int(found[1]) < LAYERS, link
                    assert int(found[2]) < NEURONS, link
                elif target == "atlas/token.html" and anchor.isdecimal():
                    assert int(anchor) < len(texts()), link
                else:
                    assert not anchor or anchor in anchors[target], f"{name}: no anchor {link}"


def test_nothing_is_asked_of_the_network(site: Path) -> None:
    for name, page in pages(site).items():
        for tag, attributes in page.tags:
            for link in (attributes.get("href"), attributes.get("src")):
                assert not re.match(r"(?i)\s*(https?:|//|javascript:)", link or ""), f"{name}: <{tag}> {link}"
        assert any(attributes.get("content", "").startswith("default-src 'none'") for tag, attributes in page.tags if tag == "meta"), name  # type: ignore[union-attr]
    for style in site.glob("static/*.css"):
        assert not re.search(r"url\(|@import|https?:", style.read_text()), style.name


def test_hostile_texts_are_text_on_every_page(site: Path) -> None:
    for name, page in pages(site).items():
        for tag, attributes in page.tags:
            assert tag not in ("img", "iframe", "object", "b", "i", "sub", "form"), f"{name}: a token became <{tag}>"
            assert not [key for key in attributes if key.startswith("on")], f"{name}: <{tag}> has a handler"
            if tag == "script":
                assert attributes.get("src") in own_scripts(name) or attributes.get("type") == "application/json", name
    shown = pages(site)[f"token-{SCRIPT_TOKEN}.html"].text
    assert "</script><img␣src=x␣onerror=\"window.hacked='token'\">" in shown


def test_templates_in_a_token_are_not_evaluated(site: Path) -> None:
    text = pages(site)["neuron-1-17.html"]
    embedded = "".join(text.scripts)
    assert "{{␣7␣*␣7␣}}" in embedded
    assert "␣49␣" not in embedded


def test_a_script_in_a_document_is_shown(site: Path) -> None:
    assert "<script>window.hacked='document'</script>" in pages(site)["neuron-1-17.html"].text


def test_embedded_figures_are_json_without_a_character_that_ends_a_script(site: Path) -> None:
    for name, page in pages(site).items():
        scripts = [script for script in page.scripts if script]
        for script in scripts:
            assert json.loads(script) is not None, name
            assert not set("<>&\u2028\u2029") & set(script), name


def test_every_figure_has_a_place_a_description_and_its_numbers(site: Path) -> None:
    parsed = pages(site)
    for name, page in parsed.items():
        places = [attributes for _, attributes in page.tags if "data-figure" in attributes]
        embedded = [json.loads(script) for script in page.scripts if script]
        payloads = [views for views in embedded if isinstance(views[0], dict) and "layout" in views[0]]  # others are rows of a table
        assert len(places) == len(payloads), name
        assert all(attributes.get("aria-label") for attributes in places), name
        drawn = [trace for views in payloads for view in views for trace in view["data"]]
        assert all(any(len(trace.get(axis) or ()) for axis in ("x", "y", "z")) for trace in drawn), name
    assert {attributes["data-figure"] for _, attributes in parsed["prompt-apple.html"].tags if "data-figure" in attributes} == {
        "lens", "patching-residual", "patching-attention", "patching-mlp", "patching-heads", "neurons", "neuron-sets", "attribution",
    }  # fmt: skip


TEMPLATES = Path(site_module.__file__).parent / "templates"


def placements(templates_of_site: Iterable[Path]) -> list[tuple[str, int]]:
    """Template and number of each line that places a figure."""
    return [
        (file.name, place) for file in templates_of_site for place, line in enumerate(file.read_text().splitlines()) if "m.figure(" in line
    ]


def misplace(template: str, number: int, times: int, folder: Path) -> None:
    """Copy all templates into a folder, one figure placed not once but so often."""
    shutil.copytree(TEMPLATES, folder / "templates")
    lines = (folder / "templates" / template).read_text().splitlines()
    (placement,) = re.findall(r"\{\{ m\.figure\([^}]*\) \}\}", lines[number])
    lines[number] = lines[number].replace(placement, placement * times)
    (folder / "templates" / template).write_text("\n".join(lines))


OF_TWO_STUDIES = TEMPLATES / "study_difference.html"  # no page of a study's site: tests/reports/study_difference looks at it


@pytest.fixture(scope="module")
def made_pages(data: ReportData) -> list[Page]:
    return pages_of(data, {})


@pytest.mark.parametrize(
    ("template", "number"),
    placements(file for file in sorted(TEMPLATES.glob("*.html")) if file != OF_TWO_STUDIES),
    ids=lambda part: str(part),
)
@pytest.mark.parametrize("times", [0, 2])
def test_a_figure_that_a_template_does_not_place_once_is_an_error(
    template: str, number: int, times: int, data: ReportData, made_pages: list[Page], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    misplace(template, number, times, tmp_path)
    monkeypatch.setattr(site_module, "HERE", tmp_path)
    environment = environment_of(data)
    concerned = [page for page in made_pages if template == page.template or template in (TEMPLATES / page.template).read_text()]
    with pytest.raises(UnplacedError, match=rf"figure [\w-]+: [\w-]+\.html places it {times} times; a figure stands on its page once"):
        list(map(partial(render, environment), concerned))


def test_a_part_of_a_page_that_its_template_does_not_show_is_an_error() -> None:
    page = Page("made-up.html", "quality.html", "Made up", {"rows_of_nothing": []})
    with pytest.raises(UnplacedError, match="made-up.html: rows_of_nothing: made for the page, but quality.html does not show it"):
        render(templates(), page)


def test_plotly_lies_in_the_site_once_and_is_loaded_only_where_there_is_a_figure(site: Path) -> None:
    assert [file.name for file in site.rglob("*plotly*")] == ["plotly.min.js"]
    loading = {name for name, page in pages(site).items() if ("script", {"src": "static/plotly.min.js", "defer": None}) in page.tags}
    assert "index.html" not in loading
    assert {"congruence.html", "quality.html", "data.html"}.isdisjoint(loading)
    assert "neuron-1-17.html" in loading


def test_pages_stay_light(site: Path) -> None:
    heavy = {file.name: file.stat().st_size for file in site.glob("*.html") if file.stat().st_size > 1_500_000}
    assert heavy == {}


def test_every_column_of_every_contract_stands_in_the_dictionary(site: Path) -> None:
    html = (site / "data.html").read_text(encoding="utf-8")
    text = " ".join(Parsed(html).text.split())
    for table in TABLES.values():
        part = html[html.index(f'id="{table.name}"') :]
        part = Parsed(part[: part.index("</article>")]).text
        for column in table.columns:
            assert column.name in part, f"{table.name}.{column.name}"
            assert " ".join(column.description.replace("`", "").split()) in " ".join(part.split()), f"{table.name}.{column.name}"
    for tensor in HISTOGRAM_TENSORS:
        assert tensor.description.replace("`", "") in text


def test_downloads_hold_the_tables_as_they_are(data: ReportData, site: Path) -> None:
    for name, frame in data.tables.items():
        if name not in NOT_COPIED:
            assert pl.read_parquet(site / "data" / f"{name}.parquet").equals(frame), name
    assert (
        (site / "data" / "token_counts.csv")
        .read_text(encoding="utf-8")
        .startswith("token_id,token,occurrences,predictions,correct_predictions\n0,")
    )


def test_tables_of_the_atlas_are_told_with_their_sizes_and_not_copied(data: ReportData, site: Path, tmp_path: Path) -> None:
    assert NOT_COPIED == ("atlas_histograms", "atlas_examples", "atlas_texts", "atlas_tokens", "atlas_neighbours")
    assert list((site / "data").glob("atlas_*")) == []
    page = pages(site)["data.html"]
    assert not [link for _, tag in page.tags if "atlas_" in (link := tag.get("href") or "") and not link.startswith("#")]
    text = " ".join(page.text.split())
    assert "in the study's folder, 81.2 MB" in text
    assert "in the study's folder, 1.6 kB" in text
    assert f'PublishedStudy("data", "{data.study.name}").table("atlas_histograms")' in text
    assert f"make export STUDY={data.study.name} OUT=exported" in text
    without = ReportData(
        data.study, {name: frame for name, frame in data.tables.items() if name not in NOT_COPIED}, data.provenance, data.facts
    )
    build_site(without, tmp_path)
    text = pages(tmp_path)["data.html"].text
    assert "in the study's folder" not in text


def test_the_front_page_answers_the_question_and_says_what_was_run(site: Path) -> None:
    text = " ".join(pages(site)["index.html"].text.split())
    assert "Layer 1 neuron 17 writes ␣an most and predicts it best: AUROC" in text
    facts = ["models/<orchard>", "commit 3f2a3f2a3f2a, resolved from main", "GPT2LMHeadModel", "812 documents", "24 000 positions"]
    facts += ["7 min 14 s a thousand neurons", "18.4 MB", "95.8 kB a neuron"]  # 83.4 s and 18.4 MB of 3 x 64 neurons
    facts += ["2026-03-07 04:05 UTC", "1 min 23 s", "4 of 5 checks passed, all 3 blocking ones among them; 1 warning to read."]
    for fact in facts:
        assert fact in text, fact


def negated(data: ReportData) -> ReportData:
    """The sample with every activation of the planted neuron negated, and the weights that it writes with."""
    is_planted = (pl.col("layer") == PLANTED[0]) & (pl.col("neuron") == PLANTED[1])
    scores, curves, written = (data.tables[name] for name in ("token_neuron_scores", "proportion_curves", "congruence_tracked_tokens"))

    def turned(**columns: pl.Expr) -> dict[str, pl.Expr]:
        return {name: pl.when(is_planted).then(expression).otherwise(name) for name, expression in columns.items()}

    scores = scores.with_columns(
        **turned(
            auroc=1 - pl.col("auroc"),
            direction=-pl.col("direction"),
            half_activation=-pl.col("half_activation"),
            highest_proportion_at=-pl.col("highest_proportion_at"),
        )
    )
    curves = curves.with_columns(**turned(bin_left=-pl.col("bin_right"), bin_right=-pl.col("bin_left")))
    changed = {
        "token_neuron_scores": scores,
        "proportion_curves": curves.sort("layer", "neuron", "token_id", "bin_left"),
        "congruence_tracked_tokens": written.with_columns(**turned(congruence=-pl.col("congruence"))),
    }
    return ReportData(data.study, {**data.tables, **changed}, data.provenance, data.facts)


def test_a_predictor_by_low_activations_is_shown_with_its_direction_on_every_page(data: ReportData, tmp_path: Path) -> None:
    own = (pl.col("token_id") == AN) & (pl.col("layer") == PLANTED[0]) & (pl.col("neuron") == PLANTED[1])
    row = data.tables["token_neuron_scores"].row(by_predicate=own, named=True)
    told = f"AUROC {fixed(1 - row['auroc'])}, read downwards {fixed(row['auroc'])}"
    half = edge(-row["half_activation"])
    build_site(negated(data), tmp_path)
    shown = {name: " ".join(page.text.split()) for name, page in pages(tmp_path).items()}
    index, token, neuron = (shown[name] for name in ("index.html", token_page(AN), neuron_page(PLANTED)))
    assert (
        f"Layer 1 neuron 17 writes ␣an most and predicts it best: {told}; the model predicts it in at least half of cases once the" in index
    )
    assert f"activation falls below {half} (recall " in index
    assert "no neuron writes more strongly against the token, which low activations so favour" in index
    assert f"(standard error), read downwards {fixed(row['auroc'])}" in index
    assert "by congruence, lowest first" in index
    assert f"Best: L1 N17, {told}" in index
    assert f"which is low where the model predicts it ({told}); read downwards, the proportion first reaches one half below" in token
    assert f"read downwards {fixed(row['auroc'])} " in token
    assert f"below {half} " in token
    assert f"best, by being low: {told}, 1st of 192 neurons; read downwards, the proportion first reaches one half below" in neuron
    assert f"below {half} " in neuron
    assert "downwards first reaches ½ at" in (tmp_path / neuron_page(PLANTED)).read_text(encoding="utf-8")


def test_a_predictor_by_high_activations_is_told_without_a_direction(site: Path) -> None:
    shown = {name: " ".join(page.text.split()) for name, page in pages(site).items()}
    assert "writes ␣an most and predicts it best: AUROC 0.98" in shown["index.html"]
    assert "Best predictor: L1 N17; the proportion first reaches one half at activation" in shown[token_page(AN)]
    assert "best: AUROC 0.98" in shown[neuron_page(PLANTED)]
    assert "best, by being low" not in shown[neuron_page(PLANTED)]


def test_failed_checks_stand_first_with_what_was_expected_and_observed(site: Path) -> None:
    text = " ".join(pages(site)["quality.html"].text.split())
    assert text.index("few positions fall above the bins") < text.index("no count is negative")
    assert "at most 0.1 % 0.31 % <script>window.hacked='check'</script>" in text


def test_a_blocking_failure_is_said_on_the_front_page(data: ReportData, tmp_path: Path) -> None:
    failed = data.tables["data_quality"].with_columns(passed=pl.col("check") != "parity")
    build_site(ReportData(data.study, {**data.tables, "data_quality": failed}, data.provenance, data.facts), tmp_path)
    assert "1 of 3 blocking checks failed: do not rely on this report." in pages(tmp_path)["index.html"].text


def test_a_claim_that_was_not_run_is_told_apart_with_its_reason_and_is_given_no_other_verdict(site: Path) -> None:
    html = (site / "scorecard.html").read_text(encoding="utf-8")
    parts = dict(re.findall(r'<section class="inner" id="([a-z-]+)">(.*?)</section>', html, re.DOTALL))
    assert list(parts) == ["not-replicated", "replicated", "not-run"]
    shown = {name: " ".join(Parsed(part).text.split()) for name, part in parts.items()}
    for text in ("Neuron 892 restores half.", "the model has no layer 31", "0.77000", "not compared"):
        assert text in shown["not-run"]
    assert not re.search(r"badge (good|bad|warning)", parts["not-run"])
    assert "Neuron 892" not in shown["replicated"] + shown["not-replicated"]
    for text in ("0.50320", "0.41000", "<b>restores</b>"):  # markup in a claim is shown as text
        assert text in shown["replicated"]
    assert "scorecard.html" in (site / "index.html").read_text(encoding="utf-8")


def test_what_feeds_a_neuron_adds_up_to_its_pre_activation_on_its_page(site: Path) -> None:
    html = (site / "neuron-1-17.html").read_text(encoding="utf-8")
    (part,) = re.findall(r'<section class="inner" id="inputs">(.*?)</section>', html, re.DOTALL)
    shown = " ".join(Parsed(part).text.split())
    # 18 components of 0, 0.25, ... 4.25 and a bias of 4.5: the twelve largest, the six smallest as one line, the bias, the sum
    assert "layer 0 MLP 4.250" in shown
    assert "6 other components 3.750" in shown
    assert "bias of norm and neuron 4.500" in shown
    assert "pre-activation 42.750" in shown
    assert "Mean over its 3 top contexts" in shown
    assert shown.index("top contexts") < shown.index("apple, at the last position")


def test_the_prompts_page_says_how_far_the_gradients_estimate_can_be_trusted(data: ReportData, site: Path, tmp_path: Path) -> None:
    # The sample's estimates are 0.9 x improvement + 0.002: in the same order, but by their size alone in another.
    exact = data.tables["neuron_patching"].filter(prompt="apple", positions="last")["improvement"].to_numpy()
    strongest = [set(np.argsort(-np.abs(values))[:50].tolist()) for values in (exact, 0.9 * exact + 0.002)]
    found = f"{len(strongest[0] & strongest[1])} of 50"
    text = " ".join(pages(site)["prompt-apple.html"].text.split())
    assert f"last position only {len(exact)} 1.000 {found}" in text
    last = pl.col("positions") == "last"
    turned = data.tables["attribution_patching"].with_columns(
        pl.when(last).then(-pl.col("attribution")).otherwise("attribution").alias("attribution")
    )
    build_site(ReportData(data.study, {**data.tables, "attribution_patching": turned}, data.provenance, data.facts), tmp_path)
    text = " ".join(pages(tmp_path)["prompt-apple.html"].text.split())
    assert f"last position only {len(exact)} \u22121.000 {found}" in text


def test_the_screen_page_lists_every_screened_token_and_says_what_is_left_out(data: ReportData, site: Path) -> None:
    page = pages(site)["screen.html"]
    rows = {row[1]: row for row in next(json.loads(script) for script in page.scripts if script)}
    assert len(rows) == 59  # sixty are screened, one of them is never predicted
    predictions, writers, against, standing = rows[" an"][3:]
    assert predictions == 300
    assert [writers[0], len(writers), writers[1][:2]] == [[*PLANTED, True, 2.4], 3, [2, 9]]
    least = data.tables["contributions"].filter(token=" an").sort("contribution").row(0, named=True)
    assert against == [
        [least["layer"], least["neuron"], (least["layer"], least["neuron"]) in data.studied, pytest.approx(least["contribution"], rel=1e-4)]
    ]
    assert standing == [[*PLANTED, True, 5.5, 0.9]]
    assert "</script><img src=x onerror=\"window.hacked='token'\">" in rows
    counts = data.tables["token_counts"].filter(pl.col("predictions") > 0)
    left_out = counts.filter(~pl.col("token_id").is_in(data.tables["screened_tokens"]["token_id"].to_list()))
    text = " ".join(page.text.replace("\u202f", " ").split())
    assert f"{left_out.height} rare tokens with {left_out['predictions'].sum():,} positions".replace(",", " ") in text


def test_the_proposed_study_is_text_that_a_study_reads_back(data: ReportData, site: Path) -> None:
    html = (site / "screen.html").read_text(encoding="utf-8")
    (part,) = re.findall(r'<pre class="code" id="next-study"><code>(.*?)</code></pre>', html, re.DOTALL)
    assert "+2.50</td>" in html
    assert "7.000 lower" in " ".join(html.split())
    fields = yaml.safe_load(unescape(part))
    # The fourth pair has the neuron of the first; the third token's text names another entry, so its id is given.
    hostile = "<a href=\"javascript:window.hacked='link'\">x</a>"
    assert fields == {"tokens": [" apple", hostile, 2, "\u2028"], "neurons": [[0, 5], [2, 30], [0, 6]]}
    read = study(tokens=fields["tokens"], neurons=fields["neurons"])
    assert read.tokens == (" apple", hostile, 2, "\u2028")


def test_a_study_without_a_screen_says_so(data: ReportData, tmp_path: Path) -> None:
    off = {name: data.tables[name].clear() for name in ("screened_tokens", "token_neuron_screen", "proposed_pairs")}
    build_site(ReportData(data.study, {**data.tables, **off}, data.provenance, data.facts), tmp_path)
    text = pages(tmp_path)["screen.html"].text
    assert "The screen is off in this study." in text
    assert "No pair is proposed." in text


def test_contexts_carry_activation_prediction_and_peak(data: ReportData, site: Path) -> None:
    words = [
        attributes
        for tag, attributes in pages(site)["neuron-1-17.html"].tags
        if tag == "bdi" and (attributes.get("class") or "").startswith("w")
    ]
    shown = data.tables["neuron_contexts"].filter((pl.col("layer") == 1) & (pl.col("neuron") == 17))
    titled = [attributes for attributes in words if "title" in attributes]
    of_prompts = data.tables["prompt_activations"].filter((pl.col("layer") == 1) & (pl.col("neuron") == 17))
    assert len(titled) == shown.height + of_prompts.height
    peaks = sum("peak" in (attributes["class"] or "").split() for attributes in titled)
    assert peaks == 4 + 4 + 4 + 3  # top, bottom and random contexts; one prompt in two variants and one in one
    assert any("cold" in (attributes["class"] or "") for attributes in titled)
    assert all(re.match(r"activation −?[0-9.]+( · 10⁻.)?, predicts .", attributes["title"] or "") for attributes in titled)


def test_a_study_of_which_nothing_was_computed_still_has_a_site(tmp_path: Path) -> None:
    files = build_site(empty_data(), tmp_path)
    assert "static/plotly.min.js" not in files
    text = pages(tmp_path)["index.html"].text
    assert "No answer: no token was tracked." in text
    assert "Nothing was checked" in text


def test_a_study_without_neurons_and_prompts_has_a_site_without_their_parts(data: ReportData, tmp_path: Path) -> None:
    plain = report_data(neurons=[], prompts=[])
    kept = {
        name: frame
        for name, frame in plain.tables.items()
        if not name.startswith(("prompt", "logit", "activation_patching", "neuron_patching", "attribution", "patched"))
    }
    kept["congruence_neurons_of_interest"] = data.tables["congruence_neurons_of_interest"].clear()
    build_site(ReportData(plain.study, kept, plain.provenance, plain.facts), tmp_path)
    assert not list(tmp_path.glob("prompt-*.html"))
    assert "Prompts" not in pages(tmp_path)["index.html"].text
    assert "No patched prompt of this study ends in the token." in pages(tmp_path)["index.html"].text


@pytest.fixture(scope="module")
def few_pages(data: ReportData) -> ReportData:
    """The sample with pages of two tokens and of three neurons only: enough where some ninety sites are made."""
    tracked, curves = (data.tables[name] for name in ("tracked_tokens", "proportion_curves"))
    shown = pl.DataFrame([(0, 1), PLANTED, (2, 30)], {name: curves.schema[name] for name in ("layer", "neuron")}, orient="row")
    tables = {**data.tables, "tracked_tokens": tracked.head(2), "proportion_curves": curves.join(shown, ["layer", "neuron"], "semi")}
    return ReportData(data.study, tables, data.provenance, data.facts)


@pytest.mark.slow  # a whole site for each table; with all of them empty at once a site is tested above
@pytest.mark.parametrize("name", [name for name in TABLES if name not in ("corpus_documents", "token_windows", "atlas_texts")])
def test_any_one_table_may_be_empty(few_pages: ReportData, tmp_path: Path, name: str) -> None:
    """But for the text of examples that are there: both are of one output."""
    tables = {**few_pages.tables, name: pl.DataFrame(schema=TABLES[name].schema)}
    assert "index.html" in build_site(ReportData(few_pages.study, tables, few_pages.provenance, few_pages.facts), tmp_path)


def test_a_page_says_what_is_not_measured_of_this_model_and_why(data: ReportData, tmp_path: Path) -> None:
    refused = {
        "congruence": "model X: a <norm> stands between",
        "contributions": "model X: a <norm> stands between",
        "neuron_inputs": "model X: no",
    }
    build_site(replace(data, refused=refused), tmp_path)
    notices = {page.name: NOTICE.findall(page.read_text()) for page in tmp_path.glob("*.html")}
    one = "Of this model: contributions and congruence. Model X: a &lt;norm&gt; stands between."
    assert notices["index.html"] == [one, "Of this model: what feeds a neuron. Model X: no."]
    assert notices["screen.html"] == ["Of this model: contributions. Model X: a &lt;norm&gt; stands between."]
    assert notices["congruence.html"] == ["Of this model: congruence. Model X: a &lt;norm&gt; stands between."]
    assert notices["quality.html"] == []
    one_neuron = (tmp_path / "atlas/neuron.html").read_text()
    assert NOTICE.findall(one_neuron) == ["Of this model: contributions and congruence. Model X: a &lt;norm&gt; stands between."]


def test_a_folder_that_holds_something_is_refused(data: ReportData, tmp_path: Path) -> None:
    (tmp_path / "old.html").write_text("old")
    with pytest.raises(SiteError, match="not empty; a site is written into an empty folder"):
        build_site(data, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["old.html"]


def test_a_table_off_its_contract_is_refused(data: ReportData, tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="token_counts: missing columns"):
        build_site(ReportData(data.study, {**data.tables, "token_counts": pl.DataFrame({"token_id": [1]})}, (), {}), tmp_path)


def test_every_hostile_token_of_the_sample_is_in_the_vocabulary_that_is_shown(site: Path) -> None:
    embedded = json.dumps([json.loads(script) for script in pages(site)["congruence.html"].scripts if script], ensure_ascii=False)
    for text in texts()[:11]:
        assert json.dumps(text, ensure_ascii=False) in embedded, text


def test_provenance_names_fingerprint_code_version_and_what_an_output_was_made_from(data: ReportData, tmp_path: Path) -> None:
    record = {"asset": "merged_histograms", "fingerprint": "0123456789abcdef" * 4, "code_version": "7", "created_at": "2026-03-01T04:05:06+00:00",
              "seconds": 2.0, "bytes": 5000, "inputs": ["activation_histograms/0000", "activation_histograms/0001", "activation_bins"]}  # fmt: skip
    build_site(ReportData(data.study, data.tables, [record], data.facts), tmp_path)
    text = " ".join(pages(tmp_path)["data.html"].text.split())
    made = "merged_histograms 0123456789ab 7 2026-03-01 04:05 UTC 2.0 s 5.0 kB activation_histograms (2 shards), activation_bins"
    assert made in text


def test_the_front_page_tells_the_ablation_and_where_its_numbers_are(site: Path) -> None:
    page = pages(site)["index.html"]
    text = " ".join(page.text.replace("\u202f", " ").split())
    assert (
        "ablating it lowers the token's log-probability by 2.25 nat (129 times the largest of 40 controls) and flips 50 % of the predictions"
        in text
    )
    assert (
        "−2.25 nat (95 % interval −2.35 to −2.15) of log-probability, 50 % of 30 predictions flip; 129 times the largest change by a control, p = 0.00059"
        in text
    )
    assert ("a", {"href": "neuron-1-17.html#ablation"}) in page.tags
    assert "Of 3 claims: 1 not replicated, 1 replicated, 1 not run;" in text


def test_a_study_without_claims_or_ablation_does_not_speak_of_them_as_if_there_were(data: ReportData, tmp_path: Path) -> None:
    without = {name: data.tables[name].clear() for name in ("replication_scorecard", "neuron_ablation", "ablation_controls")}
    build_site(ReportData(data.study, {**data.tables, **without}, data.provenance, data.facts), tmp_path)
    text = pages(tmp_path)["index.html"].text
    assert "No claims were written beside this study" in text
    assert "Not ablated over the corpus." in text
    assert "ablating it" not in text


def test_a_token_page_compares_the_ablation_of_its_neurons(site: Path) -> None:
    html = (site / "token-11.html").read_text(encoding="utf-8")
    (part,) = re.findall(r'<section class="inner" id="ablation">(.*?)</section>', html, re.DOTALL)
    shown = " ".join(Parsed(part).text.replace("\u202f", " ").split())
    assert "L1 N17 −2.250 −2.350 to −2.150 50.0 % 129 0.00059 0.0012 40" in shown
    assert 'id="ablation"' not in (site / "token-13.html").read_text(encoding="utf-8")


def test_only_what_adds_to_a_logit_is_measured_in_logits(site: Path) -> None:
    for name in ("token-11.html", "neuron-1-17.html"):
        html = (site / name).read_text(encoding="utf-8")
        (payload,) = re.findall(r'data-payload="congruence">(.*?)</script>', html, re.DOTALL)
        titles = [view["layout"]["yaxis"]["title"]["text"] for view in json.loads(payload)]
        assert titles == ["congruence (logit per unit of activation)", *["congruence (dot product)"] * 3], name


def test_every_page_leads_to_the_scorecard(site: Path) -> None:
    for name, page in pages(site).items():
        scorecard = "../scorecard.html" if "/" in name else "scorecard.html"
        assert any(attributes.get("href") == scorecard for tag, attributes in page.tags if tag == "a"), name


def test_claims_about_counts_are_told_in_whole_numbers(data: ReportData, tmp_path: Path) -> None:
    claims = data.tables["replication_scorecard"].with_columns(
        unit=pl.lit("position"), expected=pl.lit(7400.0), observed_published=pl.lit(7356.0), observed_correct=pl.lit(5654.0)
    )
    build_site(ReportData(data.study, {**data.tables, "replication_scorecard": claims}, data.provenance, data.facts), tmp_path)
    text = pages(tmp_path)["scorecard.html"].text
    for amount in (7400, 7356, 5654):
        assert count(amount) in text
    assert "7356" not in text


def test_progress_counts_pages(data: ReportData, tmp_path: Path) -> None:
    steps = steps_told(lambda progress: build_site(data, tmp_path, progress))
    assert steps == list(range(1, len(list(tmp_path.rglob("*.html"))) + 1))
