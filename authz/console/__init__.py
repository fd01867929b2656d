"""The HTTP listeners. The only folder that uses the web framework.

Uvicorn could configure logging. We do that, so its module for this is not loaded.
"""

from authz.process.late_imports import import_late

import_late("logging.config")
