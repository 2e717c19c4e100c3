"""`python -m mobileone`: the same as the `mobileone` command, for torchrun above all."""

from mobileone.cli.main import run_and_end

raise SystemExit(run_and_end())
