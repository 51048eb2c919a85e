"""Measured tables as text for the terminal and as docs/benchmarks.md. Reads the Parquet files of benchmarks/results; measures nothing."""

from pathlib import Path

import polars as pl

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"
TABLES = ("machine", "throughput", "breakdown", "memory", "growth", "gated_machine", "gated_throughput", "gated_breakdown", "overhead",
          "whole_study")  # fmt: skip
STEPS = ("forward", "unembedding and argmax", "binning", "counting", "moments", "extremes and examples", "counting of all layers",
         "counting of tracked tokens")  # fmt: skip


def printed(tables: dict[str, pl.DataFrame]) -> str:
    """The same text as the page holds, without its introduction."""
    return "\n".join(_sections(tables))


def write_page(results: Path = RESULTS, page: Path = PAGE) -> None:
    """Write the page from whatever tables are there."""
    tables = {name: pl.read_parquet(results / f"{name}.parquet") for name in TABLES if (results / f"{name}.parquet").is_file()}
    introduction = [
        "# Benchmarks",
        "",
        "Written by `make bench` from the tables in `benchmarks/results/`; `docs/performance.md` says what helped and what did not,",
        "`docs/scaling.md` what this means for larger models. Each arm takes turns with (a) in one process, every other round in reverse order, on the",
        "same random weights, token ids with the frequencies of text, and tracked tokens that are the most predicted ones.",
        "",
    ]
    page.write_text("\n".join([*introduction, *_sections(tables)]))


def _sections(tables: dict[str, pl.DataFrame]) -> list[str]:
    lines: list[str] = []
    for name, section in (
        ("machine", _machine), ("throughput", _throughput), ("breakdown", _breakdown), ("memory", _memory), ("growth", _growth),
        ("gated_machine", _gated_machine), ("gated_throughput", _gated_throughput), ("gated_breakdown", _gated_breakdown),
        ("overhead", _overhead), ("whole_study", _whole_study),
    ):  # fmt: skip
        if name in tables:
            lines += [*section(tables[name]), ""]
    return lines


def _machine(table: pl.DataFrame) -> list[str]:
    facts = dict(table.iter_rows())
    return [
        f"{facts['processor']}, {facts['cores']} cores, load {facts['load']}; {facts['threads']} threads, torch {facts['torch']}, "
        f"{facts['platform']}.",
        f"{facts['model']}-sized: {facts['layers']} layers, {int(facts['neurons']):,} neurons, {int(facts['vocabulary']):,} tokens, "
        f"{facts['dtype']}; {facts['windows']} x {facts['length']} positions a batch, {facts['tracked']} tracked tokens, "
        f"{facts['rounds']} rounds.",
    ]


def _throughput(table: pl.DataFrame) -> list[str]:
    lines = [
        "## Throughput",
        "",
        "Ratios are of throughput to (a), the median of the rounds with its quartiles: above 1 is faster than the bare model.",
        "",
        "| arm | | positions a second | ratio to (a) | by CPU time | hours per million positions, all neurons and tracked tokens |",
        "|---|---|---|---|---|---|",
    ]
    for row in table.iter_rows(named=True):
        hours = row["hours_per_million_positions_all_pairs"]
        lines.append(
            f"| ({row['arm']}) | {row['name']} | {row['positions_per_second']:,.0f} | {row['ratio']:.3f} ({row['ratio_low']:.3f} to "
            f"{row['ratio_high']:.3f}) | {row['ratio_by_cpu_time']:.3f} | {'counts nothing' if row['arm'] in 'ab' else f'{hours:,.2f}'} |"
        )
    if "d" in table["arm"]:
        passes = table.filter(arm="d")["passes_for_all_pairs"][0]
        lines += ["", f"(d) counts one pair of token and neuron a pass: {passes:,} passes for all of them. (e) counts no predictions."]
    return lines


def _breakdown(table: pl.DataFrame) -> list[str]:
    medians = dict(table.group_by("step").agg(pl.col("seconds").median()).iter_rows())
    steps = [step for step in STEPS if step in medians]
    whole = sum(medians[step] for step in steps)
    lines = ["## Where the engine's time goes", "", "| step | ms a batch | share |", "|---|---|---|"]
    lines += [f"| {step} | {medians[step] * 1000:,.1f} | {medians[step] / whole:.1%} |" for step in steps]
    return [*lines, "", f"Writing a shard's counters: {medians['writing']:.1f} s, once a shard."]


def _memory(table: pl.DataFrame) -> list[str]:
    lines = [
        "## Peak memory",
        "",
        "Each arm in a process of its own. Before: imports and the random weights, held twice by the benchmark.",
        "",
    ]
    lines += ["| arm | before, MiB | peak, MiB |", "|---|---|---|"]
    return lines + [f"| ({arm}) | {before:,.0f} | {peak:,.0f} |" for arm, before, peak in table.iter_rows()]


def _growth(table: pl.DataFrame) -> list[str]:
    medians = table.group_by("multiple", "positions").agg(pl.col("seconds").median()).sort("multiple")
    first = medians.row(0, named=True)
    lines = ["## Growth with the corpus", "", "| positions | seconds | times the first |", "|---|---|---|"]
    return lines + [
        f"| {row['positions']:,} | {row['seconds']:.2f} | {row['seconds'] / first['seconds']:.2f} |"
        for row in medians.iter_rows(named=True)
    ]


def _overhead(table: pl.DataFrame) -> list[str]:
    lines = ["## Start-up and shards", "", "| | seconds | of a 10-minute run |", "|---|---|---|"]
    return lines + [f"| {row['part']} | {row['seconds']:.1f} | {row['share']:.1%} |" for row in table.iter_rows(named=True)]


def _gated_machine(table: pl.DataFrame) -> list[str]:
    return ["## A gated model", "", *_machine(table)]


def _gated_throughput(table: pl.DataFrame) -> list[str]:
    return _throughput(table)[4:]  # under a heading of its own; the ratios are explained once


def _gated_breakdown(table: pl.DataFrame) -> list[str]:
    return _breakdown(table)[2:]


def _whole_study(table: pl.DataFrame) -> list[str]:
    """One row for each stage, or other part, of each study: `study`, `positions`, `part`, `seconds`, `told`, `bare_seconds`, `load`, `machine`."""
    lines = [
        "## A whole study",
        "",
        "A cold study without downloads beside the bare Hugging Face forward with the argmax of its logits over as many positions, whose speed is",
        "the median of runs before, in the middle of and after the study. Stages below 1 % are added up.",
    ]
    for (study,), rows in table.partition_by("study", maintain_order=True, as_dict=True).items():
        first = rows.row(0, named=True)
        whole, bare = float(rows["seconds"].sum()), first["bare_seconds"]
        times = f"{whole:,.0f} s, {whole / bare:.1f} times the bare forward ({bare:,.0f} s); load {first['load']:.1f}."
        lines += ["", f"{study}: {first['positions']:,} positions in {times} {first['machine']}.", ""]
        lines += ["| stage | seconds | share | of the bare forward | tells progress |", "|---|---|---|---|---|"]
        shown = rows.filter(pl.col("seconds") >= 0.01 * whole).sort("seconds", descending=True)
        lines += [
            f"| {row['part']} | {row['seconds']:,.1f} | {row['seconds'] / whole:.1%} | {row['seconds'] / bare:.2f} | {'yes' if row['told'] else ''} |"
            for row in shown.iter_rows(named=True)
        ]
        rest = whole - float(shown["seconds"].sum())
        lines.append(f"| {rows.height - shown.height} others | {rest:,.1f} | {rest / whole:.1%} | {rest / bare:.2f} | |")
    return lines
