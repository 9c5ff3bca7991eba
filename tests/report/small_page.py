"""A small study for the page, and one whose every name tries to run a script."""

import numpy as np
from fabricated import ACCURACY, run

from ablate.record import RunRecord
from ablate.report.document import Document, Picture, Section
from ablate.report.items import ItemScores
from ablate.report.page_items import ItemTable
from ablate.report.tables import Table, run_names

ATTACK = (
    "</script></title><script>alert(1)</script><img src=x onerror=alert(1)>\"'`&{{7*7}}../../javascript:x()"
)

SVG = """<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"
 viewBox="0 0 40 20">
<defs><style type="text/css">*{stroke-linejoin: round}</style>
<clipPath id="box"><rect width="9" height="9"/></clipPath>
<path id="tick" d="M 0 0 L 0 3" style="stroke: #000000"/></defs>
<path d="M 0 0 L 40 20" clip-path="url(#box)" style="fill: none; stroke: #0072b2; stroke-width: 2"/>
<use xlink:href="#tick" x="3" y="4"/>
<text style="font: italic 8px 'DejaVu Sans'; text-anchor: middle" x="9" y="9">image vs text</text></svg>"""


def small_document(name: str = "fabricated", arm: str = "image", endpoint: str = ACCURACY) -> Document:
    """Two arms, two seeds; every kind of part."""
    both = run_names([arm, "text"], [0, 1])
    contrast = Table(["endpoint", "contrast", "n", "mean gain", "95% CI", "p", "note"])
    for place, gain in enumerate(("+0.9", "-0.12", "+0.1", "+10.5", "–", "0.02")):
        interval = "–" if gain == "–" else f"[{gain}, +1]"
        contrast.add([endpoint, f"{arm} vs text", 2, gain, interval, "<0.001", f"{name} {place}"], both)
    for place in range(4):
        contrast.add([endpoint, f"filler {place}", 2, "0.5", "–", "0.500", ""], both)
    scores = Table(["endpoint", "arm", "seed 0", "seed 1", "mean"])
    scores.add([endpoint, "text", "0.120", "0.130", "0.125"], run_names(["text"], [0, 1]))
    scores.add([endpoint, arm, "0.930", "no record", None], run_names([arm], [0]))
    return Document(
        title=name,
        question=f"Does {name} help?",
        verdict=[f"{arm} helps (grounding: helps): better than with text (gain +0.81)."],
        registration=["Plan locked before the first run.", f"Deviation: {name} was renamed."],
        parts=[
            Section("confirmatory", "Confirmatory contrasts", contrast, f"About {name}."),
            Picture("forest", f"Forest plot of {name}", f"All contrasts of {name}."),
            Picture("decomposition", "Decomposition", "Where the gain comes from."),
            Section("scores", "Scores", scores),
        ],
        disclosures=[f"{name} read text before."],
        provenance="4 records.",
    )


def small_records(arm: str = "image", endpoint: str = ACCURACY) -> list[RunRecord]:
    scores = {("text", 0): 0.12, ("text", 1): 0.13, (arm, 0): 0.9333333333333333, (arm, 1): 0.94}
    return [run(name, seed, {endpoint: value}) for (name, seed), value in scores.items()]


def small_items(arm: str = "image") -> ItemTable:
    table = Table(["item", "cluster", "gain", "text", arm])
    for place in range(12):
        row = [f"q{place}", f"island {place % 3}", f"{place - 6:+d}.000", "0.000", "1.000"]
        table.add([*row], run_names(["text", arm], [0, 1]))
    return ItemTable("Items", "Twelve questions.", table, 12, {3: "text", 4: arm}, 1)


def item_scores(
    values: dict[tuple[str, int], list[float]],
    subsets: list[str] | None = None,
    weights: list[float] | None = None,
    endpoint: str = ACCURACY,
) -> ItemScores:
    count = len(next(iter(values.values())))
    names = subsets or [""] * count
    numbers = {name: place for place, name in enumerate(dict.fromkeys(names))}
    clusters = [numbers[name] for name in names] if subsets else list(range(count))
    return ItemScores(
        endpoint,
        [f"q{place}" for place in range(count)],
        names,
        np.array(weights or [1.0] * count),
        np.array(clusters, dtype=np.int64),
        {key: np.array(row, dtype=np.float64) for key, row in values.items()},
    )
