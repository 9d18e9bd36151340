"""Documents of HTML from templates: files beside the module that fills them, read by Jinja2.

Whatever is filled in is escaped, unless it is markup already: a drawing, or words whose marks
(``dashboard.text.prose``) one of the filters has made HTML of. A name that a template uses and
nobody gives is an error, not an empty place.

    {{ words | inline }}       marks as HTML, within a paragraph
    {{ words | paragraphs }}   the same, a <p> for each paragraph
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from dashboard.text import prose


@cache
def templates(folder: Path) -> Environment:
    """The templates that lie in a folder: ``templates(folder).get_template("report.html")``."""
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["inline"] = lambda words: Markup(prose.inline(words))
    environment.filters["paragraphs"] = lambda words: Markup(prose.to_html(words))
    return environment
