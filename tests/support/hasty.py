"""`authz` whose administration looks twice a second for all that it looks for again and again.

python -m tests.support.hasty --config FILE admin
"""

import sys

from authz.cli.main import main
from authz.flows.automatic_rotation import DUE_KEYS
from authz.flows.early_retirement import OVERLAPS
from authz.flows.notifications.alarm_watch import ALARMS
from authz.flows.notifications.expiry_watch import EXPIRIES
from authz.flows.usage.judgement import JUDGEMENTS

PROGRAM = (sys.executable, "-m", "tests.support.hasty")
PAUSE = 0.5  # seconds

if __name__ == "__main__":
    for looks in (ALARMS, DUE_KEYS, EXPIRIES, JUDGEMENTS, OVERLAPS):
        object.__setattr__(looks, "pause", PAUSE)  # the parts have these objects, not their names
    sys.exit(main())
