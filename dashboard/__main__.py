"""``python -m dashboard``: see ``dashboard.cli``."""

import sys

from dashboard.importing import freeze_imports, imported

freeze_imports()
sys.exit(imported("dashboard.cli").main())
