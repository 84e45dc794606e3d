"""`python -m strongroom` is the same as the `strongroom` command."""

from strongroom.cli import main

raise SystemExit(main())
