"""Pages as a link opens them, without a browser, and what they then say."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streamlit.testing.v1 import AppTest

ROOT = Path(__file__).resolve().parent.parent


def opened(page: str, **settings: str) -> AppTest:
    """A page of ``dashboard/pages``, or "app", run by a link with these settings."""
    # Imported here: on a GPU machine the kernels' tests run without Streamlit.
    from streamlit.testing.v1 import AppTest

    path = ROOT / "app.py" if page == "app" else ROOT / "dashboard/pages" / f"{page}.py"
    app = AppTest.from_file(str(path), default_timeout=60)
    for name, value in settings.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception
    return app


def told(app: AppTest) -> str:
    """Every text, caption and note of the page, as Markdown."""
    return "\n".join(item.value for item in [*app.markdown, *app.caption, *app.info])
