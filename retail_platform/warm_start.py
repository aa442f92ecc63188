"""What every run would have to do first, done once in the process that runs are forked from.

Only that process imports this module (see warm_runs.py), and importing it is all that can be done
to such a process: that is why there is work in it.
"""

import logging

from retail_platform.resources import dbt_resource
from retail_platform.settings import Settings

try:
    dbt_resource(Settings.from_env()).project().warm_up()
except Exception as error:  # each run will meet the same, and say so where people look
    logging.getLogger(__name__).warning("Runs start cold: %s", error)
