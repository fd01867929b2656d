"""`authz` with an administration that looks for closed hours twice a second.

python -m tests.deploy.hasty --config FILE admin
"""

import sys
from unittest import mock

from authz.cli.main import main
from authz.flows.usage import judgement

if __name__ == "__main__":
    with mock.patch.object(judgement, "PAUSE", 0.5):
        sys.exit(main())
