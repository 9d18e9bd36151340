"""The server has imported its pages before anybody asks for one."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
STARTED = """
import asyncio, sys, threading
from streamlit.web.server.app_discovery import discover_asgi_app
from pathlib import Path

assert discover_asgi_app(Path("app.py")).import_string == "app:app"
import app

async def start():
    async with app.app._user_lifespan(app.app):
        assert "torch" not in sys.modules or threading.active_count() > 1
        for thread in threading.enumerate():
            if thread.name == "imports":
                thread.join()

asyncio.run(start())
print(*(name in sys.modules for name in ("torch", "dashboard.pages.explore", "transformers")))
"""


def test_a_server_that_starts_imports_its_pages_and_no_models():
    run = subprocess.run(
        [sys.executable, "-c", STARTED], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert run.stdout == "True True False\n"
