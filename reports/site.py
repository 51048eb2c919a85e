"""The whole report as a folder of static files: pages, style sheet, script, plotly.js once, and the tables to download.

Opens from disk, asks nothing of the network, and is the same bytes for equal input: no clock, no random ids. What the pages
show is in `pages`; this module renders and writes them.
"""

import re
from collections import Counter
from collections.abc import Mapping
from functools import cache, partial
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import BytecodeCache, Environment, FileSystemLoader, StrictUndefined, meta
from jinja2.bccache import Bucket

from assets.errors import InputError
from assets.progress import Told, counted
from reports import direction, numbers, text
from reports.atlas.data_files import write_atlas
from reports.downloads import Download, write_downloads
from reports.not_measured import not_measured
from reports.pages.atlas import atlas_neuron, atlas_pages, atlas_token
from reports.pages.congruence import congruence_page
from reports.pages.dictionary import data_page
from reports.pages.index import index_page
from reports.pages.neurons import neuron_pages
from reports.pages.page import Page, neuron_page, prompt_page, prompt_set_page, token_page
from reports.pages.prompt_sets import prompt_set_pages
from reports.pages.prompts import prompt_pages
from reports.pages.quality import quality_page
from reports.pages.scorecard import scorecard_page
from reports.pages.screen import screen_page
from reports.pages.tokens import token_pages
from reports.report_data import ReportData

HERE = Path(__file__).parent
STATIC = ("site.css", "site.js")
OF_ATLAS = (
    "atlas.css", "atlas.js", "atlas_histogram.js", "atlas_summary.js", "atlas_statistics.js", "atlas_contexts.js", "atlas_shown.js", "atlas_neuron.js",
    "atlas_compare.js", "atlas_address.js", "atlas_search.js", "atlas_scale.js", "atlas_map.js", "atlas_relatives.js", "atlas_token.js",
)  # fmt: skip


_PLACED = re.compile(r'data-payload="([^"]+)"')  # once in each figure; texts on a page have their quotes escaped


class UnplacedError(RuntimeError):
    """A figure or a part of a page that was made and does not stand there, or stands there twice: a defect of its template."""


class SiteError(InputError):
    """A site that cannot be written where it was asked for."""


def build_site(data: ReportData, folder: Path, progress: Told | None = None) -> list[str]:
    """Write the site into `folder`, which is made if absent and must be empty; returns the files written, index.html last.

    `progress` is told pages written and in all.

    Raises SiteError for a folder that holds anything, ContractError for a table off its contract.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise SiteError(f"{folder}: not empty; a site is written into an empty folder, so that no old page stays in it")
    downloads = write_downloads(data, folder)
    pages = pages_of(data, downloads)
    files = [download.path for table in downloads.values() for download in table]
    files += write_static(folder, with_plotly=any(page.figures for page in pages), with_atlas=data.has_atlas)
    files += write_atlas(data, folder)
    environment = environment_of(data)
    for page in counted(pages, progress):
        (folder / page.file).write_text(render(environment, page), encoding="utf-8")
        files.append(page.file)
    return files


def pages_of(data: ReportData, downloads: Mapping[str, list[Download]]) -> list[Page]:
    """Every page of the site, the index last. `downloads` are the files that the site holds, by table."""
    return [
        *token_pages(data),
        *neuron_pages(data),
        *prompt_pages(data),
        *prompt_set_pages(data),
        screen_page(data),
        congruence_page(data),
        scorecard_page(data),
        quality_page(data),
        data_page(data, downloads),
        *atlas_pages(data),
        index_page(data),
    ]


def write_static(folder: Path, with_plotly: bool, with_atlas: bool = False) -> list[str]:
    """Write style and script, plotly.js if a page draws with it, and those of the atlas, below `folder`; returns the files."""
    (folder / "static").mkdir()
    contents = {name: (HERE / "static" / name).read_bytes() for name in (*STATIC, *(OF_ATLAS if with_atlas else ()))}
    if with_plotly:
        contents["plotly.min.js"] = resources.files("plotly").joinpath("package_data", "plotly.min.js").read_bytes()
    for name, content in contents.items():
        (folder / "static" / name).write_bytes(content)
    return [f"static/{name}" for name in contents]


def environment_of(data: ReportData) -> Environment:
    """The templates with what all pages of a study know."""
    return templates(
        study=data.study,
        plural=numbers.plural,
        token_page=token_page,
        neuron_page=neuron_page,
        atlas_neuron=atlas_neuron,
        atlas_token=atlas_token,
        prompt_page=prompt_page,
        prompt_set_page=prompt_set_page,
        tracked_ids={token_id for token_id, _ in data.tracked},
        studied_neurons=set(data.studied),
        has_atlas=data.has_atlas,
        run_prompts=set(data.prompts),
        version=data.facts.get("version"),
        not_measured=partial(not_measured, refused=data.refused),
    )


class _Compiled(BytecodeCache):
    """Templates that this process has compiled, by their text: a third of a small site's time, paid once and not for each site."""

    def __init__(self) -> None:
        self._code: dict[tuple[str, str], bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        """Give the code of a template, if its text is what was compiled."""
        if code := self._code.get((bucket.key, bucket.checksum)):
            bucket.bytecode_from_string(code)

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep the code of a template."""
        self._code[bucket.key, bucket.checksum] = bucket.bytecode_to_string()


_COMPILED = _Compiled()


def templates(**names: Any) -> Environment:
    """Templates with autoescape always on: no text of a corpus, a token or a model is ever markup. `names` are known in all of them."""
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        bytecode_cache=_COMPILED,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        count=numbers.count,
        number=numbers.number,
        fixed=numbers.fixed,
        signed=numbers.signed,
        edge=numbers.edge,
        grouped=numbers.grouped,
        error=numbers.error,
        auroc=direction.auroc,
        beyond=direction.beyond,
        percent=numbers.percent,
        size=numbers.size,
        duration=numbers.duration,
        ordinal=numbers.ordinal,
        visible=text.visible,
        running=text.visible_in_running_text,
        shortened=text.shortened,
    )
    environment.globals.update({"has_atlas": False, **names})
    return environment


def render(environment: Environment, page: Page) -> str:
    """The page as HTML. Raises UnplacedError where anything that the page was made of does not stand on it."""
    figures = {figure.name: figure for figure in page.figures}
    unused = set(page.context) - _names_used(environment, page.template)
    if unused:
        raise UnplacedError(f"{page.file}: {', '.join(sorted(unused))}: made for the page, but {page.template} does not show it")
    html = environment.get_template(page.template).render(page=page, title=page.title, figures=figures, **page.context)
    placed = Counter(_PLACED.findall(html))
    for name in figures.keys() | placed.keys():
        if placed[name] != 1 or name not in figures:
            raise UnplacedError(
                f"{page.file}: figure {name}: {page.template} places it {placed[name]} times; a figure stands on its page once"
            )
    return html


def _names_used(environment: Environment, template: str) -> frozenset[str]:
    """What a template, and those that it is made of, take from a page's context."""
    if environment.loader is None:
        return frozenset()
    names, parts = _parsed(environment.loader.get_source(environment, template)[0])
    return names.union(*(_names_used(environment, part) for part in parts))


@cache  # a template is parsed once, not for each of hundreds of pages
def _parsed(source: str) -> tuple[frozenset[str], tuple[str, ...]]:
    """Names that the text of a template leaves undefined, and the templates that it refers to."""
    parsed = templates().parse(source)
    return frozenset(meta.find_undeclared_variables(parsed)), tuple(filter(None, meta.find_referenced_templates(parsed)))
