"""`python -m renorm_cli` is `renorm-ckpt`."""

from renorm_cli.cli import main

main()
