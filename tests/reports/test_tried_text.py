"""A tried text as the page shows it: finished texts, strengths of colour, links, and nothing that a browser could read as markup."""

import json

from assets.tried_text.tried_text import Contribution, ReadToken, TriedText
from reports.tried_text.page import OfferedStudy, static_file, tried_text_page
from reports.tried_text.shown import neurons_named, shown

SCRIPT = "</script>"
BEGINNING = ReadToken(0, "<s>", 1, "\n", 0.5, -0.25, (), (Contribution(0, 2, -1.0, -0.25),))
LAST = ReadToken(1, f" {SCRIPT}", 2, " an", 0.99999, 4.5, (Contribution(1, 3, 4.2, 4.0), Contribution(0, 2, 1.0, 0.5)), ())
TRIED = TriedText((BEGINNING, LAST), {(1, 3): (8.0, 4.2), (2, 0): (-40.0, -2.0)}, "")


def test_every_text_is_finished() -> None:
    told = shown(TRIED, {(1, 3): "/demo/neuron-1-3.html"}, counts_beginning=False)
    first, last = told["tokens"]
    assert (first["token"], first["prediction"], first["probability"], first["all_neurons"]) == ("<s>", "↵", "50.0\u202f%", "−0.250")
    assert (last["running"], last["token"], last["probability"]) == (f" {SCRIPT}", f"␣{SCRIPT}", "> 99.9\u202f%")
    assert last["writes"] == [
        {"name": "L1 N3", "page": "/demo/neuron-1-3.html", "contribution": "+4.00", "activation": "4.20"},
        {"name": "L0 N2", "page": "", "contribution": "+0.500", "activation": "1.00"},
    ]
    assert first["writes_against"] == [{"name": "L0 N2", "page": "", "contribution": "−0.250", "activation": "−1.00"}]
    assert json.loads(json.dumps(told, allow_nan=False)) == told


def test_the_beginning_has_a_colour_only_where_a_study_counts_it() -> None:
    without, with_it = (shown(TRIED, {}, counts_beginning=counted)["neurons"] for counted in (False, True))
    assert [neuron["strengths"] for neuron in without] == [[0, 100], [0, -100]]
    assert [neuron["strengths"] for neuron in with_it] == [[100, 52], [-100, -5]]
    assert without[1]["activations"] == with_it[1]["activations"] == ["−40.0", "−2.00"]


def test_a_neuron_that_is_silent_has_no_colour() -> None:
    silent = TriedText((BEGINNING, LAST), {(0, 0): (0.0, 0.0)}, "")
    assert shown(silent, {}, counts_beginning=True)["neurons"][0]["strengths"] == [0, 0]


def test_every_neuron_that_is_named_is_looked_up() -> None:
    assert neurons_named(TRIED) == {(0, 2), (1, 3), (2, 0)}


def test_what_is_not_told_is_left_empty_with_the_reason() -> None:
    bare = ReadToken(0, "a", 1, "b", 0.5, None, (), ())
    told = shown(TriedText((bare, bare), {}, "it has no norm"), {}, counts_beginning=False)
    assert told["refused"] == "it has no norm"
    assert told["tokens"][0] | {"running": "", "token": ""} == {
        "running": "", "token": "", "prediction": "b", "probability": "50.0\u202f%", "all_neurons": "", "writes": [], "writes_against": [],
    }  # fmt: skip
    assert told["neurons"] == []


def test_names_of_studies_are_data_on_the_page_which_asks_its_own_server_alone() -> None:
    page = tried_text_page([OfferedStudy('"><script>', was_run=False), OfferedStudy("demo", was_run=True)]).decode()
    assert '"><script>' not in page
    assert page.index('value="demo"') < page.index("(not run yet)")
    assert page.count("Content-Security-Policy") == 1
    assert "connect-src 'self'" in page
    assert "unsafe-eval" not in page


def test_without_a_study_the_page_says_what_to_do() -> None:
    page = tried_text_page([]).decode()
    assert "There is no study to choose. Put a study file into the folder of studies" in page
    assert "<form" not in page


def test_no_file_but_the_pages_own_is_given() -> None:
    for name in ("site.css", "site.js", "tried_text.css", "tried_text.js"):
        found = static_file(name)
        assert found is not None
        assert found[0]
    assert static_file("../site.py") is None
    script = static_file("tried_text.js")
    assert script is not None
    assert b"innerHTML" not in script[0]
    assert b"insertAdjacentHTML" not in script[0]
