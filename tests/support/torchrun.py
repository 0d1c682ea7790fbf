"""Two processes that torchrun starts."""

import os
import sys

from support.settings import ROOT

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
SECONDS = 300  # until something is wrong
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
ENVIRONMENT |= {"PYTHONFAULTHANDLER": "1"}  # where one crashes, it says in which function
