"""Update the tables and the figure of benchmarks from the newest results: `python benchmarks/draw.py`.

docs/benchmarks.md contains the whole table, the README a few of its rows. The results are those of the machine that was
measured last.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

from rounds import HERE, RESULTS, SCALES, TOGETHER

if TYPE_CHECKING:
    from matplotlib.axes import Axes

README, PAGE = HERE.parent / "README.md", HERE.parent / "docs" / "benchmarks.md"
FIGURE = HERE / "results" / "speed.png"
TABLE = re.compile(r"(?<=<!-- benchmarks: made by draw.py -->\n).*?(?=<!-- end -->)", re.DOTALL)
HEADLINES = "steps", "steps-avx2", "inference", "mnist", "startup", "memory"
README_ROWS = (
    "LeNet-5 step, batch 64",
    "vgg-small step, batch 64",
    "LeNet-5 inference, batch 256",
    "MNIST to 99.0%, 2 ranks",
    "LeNet-5 on MNIST, 2 ranks, an epoch",
)
BENCHMARKS = *HEADLINES, "layers", "exact", "safety", "peak"
OURS, INK, PALE = "#0b6e8a", "#222222", "#d0d6da"
PEERS = {"PyTorch": "o", "PyTorch channels_last": "s", "PyTorch compiled": "^", "PyTorch DDP": "D"}
PEERS |= {"ONNX Runtime": "v", "JAX": "X"}
COLORS = {"Winograd": OURS, "direct": "#5fb3c9", "PyTorch": "#b9723a"}
DIRECTIONS = {"forward": "o", "dx": "^", "dW": "s"}

Records = dict[str, dict]  # the content of the file of each benchmark, by its name


def newest() -> Records:
    """Return the records of the machine that was measured last."""
    found = [json.loads(path.read_text()) for path in RESULTS.glob("*/*.json")]
    if not found:
        raise SystemExit("no results in benchmarks/results: run `make bench` first")
    name = max(found, key=lambda record: record["date"])["machine"]["name"]
    return {each["benchmark"]: each for each in found if each["machine"]["name"] == name}


def headlines(records: Records) -> list[dict]:
    """Return the rows of the whole table, with names that are clear without a heading."""
    rows = []
    for benchmark in HEADLINES:
        for row in records.get(benchmark, {"rows": []})["rows"]:
            what = row["what"] + (", AVX2 only" if benchmark == "steps-avx2" else "")
            rows.append(row | {"what": what})
    return rows


# ---- the table ----


def markdown(records: Records) -> str:
    """Return as Markdown the figure, the whole table, and sentences on the costs and on the machine."""
    lines = [
        "![Speed compared with the fastest peer, and the use of the peak](../benchmarks/results/speed.png)",
        "",
        "| one core, unless ranks are named | distcnn | the fastest peer | ratio [quartiles] | of the peak |",
        "| --- | ---: | --- | ---: | ---: |",
    ]
    for row in headlines(records):
        share = f"{row['share'][0]:.0%}" if "share" in row else ""
        lines.append(f"| {' | '.join(measured(row))} | {share} |")
    return "\n".join(lines) + "\n\n" + costs(records) + source(records) + "\n"


def short(records: Records) -> str:
    """Return as Markdown the table of the README, a few rows of the whole one, and the sentence on the machine."""
    lines = [
        "| one core, unless ranks are named | distcnn | the fastest peer | ratio [quartiles] |",
        "| --- | ---: | --- | ---: |",
    ]
    rows = [row for row in headlines(records) if row["what"] in README_ROWS]
    lines += [f"| {' | '.join(measured(row))} |" for row in rows]
    return "\n".join(lines) + "\n\n" + source(records) + "\n"


def measured(row: dict) -> tuple[str, str, str, str]:
    """Return the cells of a row: its name, our result, that of the fastest peer, and the ratio with quartiles."""
    peer = f"{quantity(row['peers'][row['best']], row['unit'])}, {row['best']}" if "best" in row else ""
    ratio = "**{:.1f}x** [{:.1f} {:.1f}]".format(*row["ratio"]) if "ratio" in row else ""
    return row["what"], quantity(row["ours"], row["unit"]), peer, ratio


def quantity(value: float, unit: str) -> str:
    """Return a measured number as text, with three digits and its unit."""
    scale, name = SCALES[unit]
    value *= scale
    return f"{value:.{max(0, 2 - len(str(int(value))) + 1)}f} {name}"


def costs(records: Records) -> str:
    """Return sentences on what exact sums and checks cost, as fractions of a step of LeNet-5."""
    words = []
    for row in records.get("exact", {"rows": []})["rows"]:
        longer = 1 / row["ratio"][0] - 1
        words.append(f"Exact sums make a step of LeNet-5 {longer:.1%} longer than float32 sums.")
    for row in records.get("safety", {"rows": []})["rows"]:
        if row["what"] == TOGETHER:
            checks = "The guard, the watchdog, a comparison of replicas and a checkpoint in 100 steps"
            words.append(f"{checks} take {row['part']:.1%} of them.")
    return " ".join(words) + "\n\n" * bool(words)


def source(records: Records) -> str:
    """Return a sentence on the machine and the versions."""
    first = next(records[name] for name in BENCHMARKS if name in records)
    machine, rows = first["machine"], records.get("peak", {"rows": []})["rows"]
    peers = {"torch": "PyTorch", "onnxruntime": "ONNX Runtime", "jax": "JAX"}
    shown = [records[name]["machine"] for name in BENCHMARKS if name in records]
    versions = {name: version for each in shown for name, version in each["versions"].items()}
    named = ", ".join(f"{name} {versions[key]}" for key, name in peers.items() if key in versions)
    peak = "".join(f"; {row['what']} a second: {row['ours'] / 1e9:.0f} G" for row in rows)
    return (
        f"{machine['processor']}, {machine['cores']} cores, {machine['instructions']}{peak}; {named}; "
        f"commit {first['commit']}, {first['date'][:10]}."
    )


# ---- the figure ----


def figure(records: Records) -> None:
    """Draw the speed relative to the fastest peer (left), and the share of the peak that each layer reaches (right)."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = [row for row in headlines(records) if "ratio" in row and row["unit"] != "bytes"]
    used = by_layer(records.get("layers", {"rows": []})["rows"])
    pyplot.rcParams.update({"font.size": 9, "text.color": INK, "axes.edgecolor": PALE, "xtick.color": INK})
    canvas, (left, right) = pyplot.subplots(
        1, 2, figsize=(12, 1.6 + 0.34 * len(rows)), width_ratios=(1.2, 1), layout="constrained"
    )
    draw_ratios(left, rows)
    draw_shares(right, used)
    canvas.savefig(FIGURE, dpi=150, metadata={"Software": None})


def draw_ratios(axes: Axes, rows: list[dict]) -> None:
    """Draw one bar per row: our speed relative to the fastest peer, with quartiles as a line and peers as markers."""
    for y, row in enumerate(rows):
        middle, low, high = row["ratio"]
        axes.barh(y, middle, height=0.6, color=OURS)
        axes.plot([low, high], [y, y], color=INK, linewidth=1.2)
        axes.text(high + 0.08, y, f"{middle:.1f}x", va="center", fontweight="bold")
        fastest = row["peers"][row["best"]]
        for name, value in row["peers"].items():
            if not isinstance(value, str):
                style = {"color": "white", "markeredgecolor": INK, "markersize": 5, "zorder": 3}
                axes.plot(fastest / value, y, PEERS[name.split(",")[0]], linestyle="", **style)
    results = [each for row in rows for each in row["peers"].items()]
    shown = {name.split(",")[0] for name, value in results if not isinstance(value, str)}
    markers = {name: marker for name, marker in PEERS.items() if name in shown}
    legend = {name: {"marker": marker, "markerfacecolor": "white"} for name, marker in markers.items()}
    _finish(axes, [row["what"] for row in rows], legend)
    axes.set_title("Speed relative to the fastest peer (1)", loc="left", fontsize=10)
    axes.set_xlim(0, 1.1 * max(row["ratio"][2] for row in rows))
    axes.axvline(1, color=INK, linewidth=0.8)


def by_layer(rows: list[dict]) -> dict[str, list[tuple[str, str, float]]]:
    """Return {layer: [(algorithm, direction, share of the peak), ...]}; the fastest peer counts as an algorithm."""
    found = {}
    for row in (each for each in rows if "share" in each):
        name, direction = row["what"].rsplit(" ", 1)
        layer, _, algorithm = name.rpartition(" ") if name.split()[-1] in COLORS else (name, "", "direct")
        points = found.setdefault(layer, [])
        points.append((algorithm, direction, row["share"][0]))
        if "best" in row:
            points.append(("PyTorch", direction, row["flops"] / row["peers"][row["best"]] / row["peak"]))
    return found


def draw_shares(axes: Axes, layers: dict[str, list[tuple[str, str, float]]]) -> None:
    """Draw one row per layer, with one marker for each direction of each algorithm."""
    for y, points in enumerate(layers.values()):
        axes.axhline(y, color=PALE, linewidth=0.8, zorder=0)
        for algorithm, direction, share in points:
            style = {"color": COLORS[algorithm], "markersize": 5 if algorithm == "PyTorch" else 7}
            axes.plot(100 * share, y, DIRECTIONS[direction], alpha=0.85, **style)
    legend = {name: {"marker": "s", "color": color} for name, color in COLORS.items()}
    legend |= {name: {"marker": marker, "color": INK} for name, marker in DIRECTIONS.items()}
    _finish(axes, layers, legend)
    axes.set_title("FLOP/s in % of the measured peak", loc="left", fontsize=10)
    axes.set_xlim(0)
    axes.axvline(100, color=INK, linewidth=0.8)


def _finish(axes, names, legend):
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    for name, style in legend.items():
        axes.plot([], [], linestyle="", label=name, markersize=5, **({"color": INK} | style))
    axes.legend(loc="upper center", bbox_to_anchor=(0.42, -0.06), ncols=3, frameon=False, handletextpad=0.1)


def renew(path: Path, table: str) -> None:
    """Replace the text between the two comments that delimit the table in a page."""
    text = path.read_text()
    if not TABLE.search(text):
        raise SystemExit(f"{path.name} has no place for the table")
    path.write_text(TABLE.sub(lambda _: table, text))


def main() -> None:
    """Write the figure, and the tables in the README and docs/benchmarks.md."""
    records = newest()
    figure(records)
    renew(PAGE, markdown(records))
    renew(README, short(records))


if __name__ == "__main__":
    main()
