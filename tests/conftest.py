"""One thread for numerical libraries: results then do not depend on the machine's cores, and tests
that share a machine do not wait for each other's threads.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
