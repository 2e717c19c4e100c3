"""`python -m mobileone`: the same as the `mobileone` command, for torchrun above all."""

from mobileone.cli.main import main

raise SystemExit(main())
