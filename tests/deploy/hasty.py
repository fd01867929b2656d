"""`authz` with an administration that looks for closed hours twice a second.

python -m tests.deploy.hasty --config FILE admin
"""

import sys
from dataclasses import replace
from unittest import mock

from authz.cli.main import main
from authz.flows.usage.judgement import JUDGEMENTS
from authz.wiring import anomalies

if __name__ == "__main__":
    with mock.patch.object(anomalies, "JUDGEMENTS", replace(JUDGEMENTS, pause=0.5)):
        sys.exit(main())
