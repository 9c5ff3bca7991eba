"""The page on what a verdict costs, made of a measurement's runs and of the records of an A/A study."""

from pathlib import Path

from ablate.report.price_runs import read_aa_records, read_measurement
from ablate.report.price_tables import (
    AVERAGES,
    COVARIATES,
    RECORDS,
    covariate_table,
    price_rows,
    price_sentences,
    price_table,
    record_table,
    settings_sentence,
)
from ablate.report.text import csv_text, markdown_table, markdown_text
from ablate.whole_file import write_whole


def render_price(folder: Path) -> dict[str, str]:
    """The page of the measurement in ``folder``, in memory: file name to text.

    Raises:
        PriceError, StudyError, RecordError: something cannot be read.
    """
    found = read_measurement(folder)
    aa = read_aa_records(folder / found.settings["aa"]) if found.settings.get("aa") else None
    parts = ["# The price of a verdict", *map(markdown_text, price_sentences(found, aa))]
    parts += ["## Schedules and averages", markdown_table(price_table(found)), markdown_text(AVERAGES)]
    parts.append(markdown_text(settings_sentence(found)))
    if aa is not None:
        parts += [
            "## Pairs against independent seeds",
            markdown_table(record_table(aa)),
            markdown_text(RECORDS),
        ]
        parts += ["## Control variates", markdown_table(covariate_table(aa)), markdown_text(COVARIATES)]
    text = "\n\n".join(part.rstrip("\n") for part in parts) + "\n"
    return {"table.md": text, "price.csv": csv_text(price_rows(found))}


def write_price(folder: Path) -> list[Path]:
    """Write the page of the measurement in ``folder`` beside it; the files.

    Raises:
        PriceError, StudyError, RecordError: as `render_price`.
    """
    files = render_price(folder)
    for name, text in files.items():
        write_whole(folder / name, text)
    return [folder / name for name in files]
