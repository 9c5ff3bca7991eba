"""A report as GitHub Markdown."""

from ablate.report.document import Document, Picture
from ablate.report.text import markdown_table, markdown_text


def markdown(document: Document) -> str:
    """``document`` as GitHub Markdown."""
    verdict = "\n\n".join(markdown_text(sentence) for sentence in document.verdict)
    parts = [f"# {markdown_text(document.title)}", markdown_text(document.question)]
    parts += [f"**Verdict.** {verdict}", *map(markdown_text, document.registration)]
    for part in document.parts:
        if isinstance(part, Picture):
            parts += [f"![{markdown_text(part.title)}]({part.key}.svg)", markdown_text(part.alternative)]
        else:
            parts += [
                f"## {markdown_text(part.title)}",
                markdown_table(part.table),
                markdown_text(part.legend),
            ]
    parts += ["## Disclosures", _bullets(document.disclosures)]
    parts += ["## Provenance", markdown_text(document.provenance)]
    return "\n\n".join(part.rstrip("\n") for part in parts if part) + "\n"


def _bullets(lines: list[str]) -> str:
    return "\n".join(f"- {markdown_text(line)}" for line in lines) or "None."
